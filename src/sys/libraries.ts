// Whether the dynamic linker finds a shared library, by asking it (dlopen(3)); nothing else is known about
// versions.
import koffi from 'koffi';

/** True when `name`, e.g. libpcap.so, can be loaded. A library found stays loaded. */
export function canLoad(name: string): boolean {
  try {
    koffi.load(name, { lazy: true });
    return true;
  } catch {
    return false;
  }
}
