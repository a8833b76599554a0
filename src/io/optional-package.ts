// The packages that only packet I/O pcap needs. npm leaves them out without a word where it cannot build
// them.
import { createRequire } from 'node:module';
import { IoError } from '../sys/io-error.ts';

const NAMES = ['cap', 'raw-socket'] as const;
type OptionalPackage = (typeof NAMES)[number];

const BUILT_WITH = 'libpcap-dev, build-essential and python3';
const require = createRequire(import.meta.url);

/** Throws an IoError. */
export function loadOptional<T>(name: OptionalPackage): T {
  try {
    return require(name) as T;
  } catch (error) {
    throw new IoError(
      `the package ${name} cannot be loaded: ${(error as Error).message.split('\n')[0]}`,
      `install the Debian packages ${BUILT_WITH}, then run: npm rebuild ${name}`,
      error,
    );
  }
}

/** Which of them are not installed; undefined when none is missing. */
export function pcapLacks(): IoError | undefined {
  const missing = NAMES.filter((name) => !isInstalled(name));
  if (missing.length === 0) return undefined;
  const [packages, verb] = missing.length === 1 ? ['package', 'is'] : ['packages', 'are'];
  return new IoError(
    `packet I/O pcap needs the ${packages} ${missing.join(' and ')}, which ${verb} not installed`,
    `install the Debian packages ${BUILT_WITH}, then install uoa-proxy again, for instance with npm ci, which leaves out ` +
      'without a word what it cannot build; or set io.mode to ring, which needs neither package',
  );
}

function isInstalled(name: OptionalPackage): boolean {
  try {
    require.resolve(name);
    return true;
  } catch {
    return false;
  }
}
