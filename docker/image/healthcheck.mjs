// The image's HEALTHCHECK: exit 0 when /healthz answers 200. UOA_PROXY_ADMIN says where else than by
// default.
const admin = process.env.UOA_PROXY_ADMIN ?? '127.0.0.1:9464';
try {
  const { status } = await fetch(`http://${admin}/healthz`, { signal: AbortSignal.timeout(4000) });
  if (status !== 200) throw new Error(`it answered ${status}`);
} catch (error) {
  console.error(`${admin}/healthz: ${error.cause?.message ?? error.message}`);
  process.exitCode = 1;
}
