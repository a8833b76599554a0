// Started by command-lines.ts: runs the command lines that it is sent, one at a time, by the module named in
// its argument. Answers each with the exit code and what was printed.
const { runCli } = await import(process.argv[2]);

/** @type {Record<string, string>} */
let printed = {};
for (const name of ['stdout', 'stderr']) {
  process[name].write = (text, ...rest) => {
    printed[name] += text;
    rest.find((one) => typeof one === 'function')?.();
    return true;
  };
}
// Each command line that prints listens for errors of its own output.
process.stdout.setMaxListeners(0);

process.on('message', async (args) => {
  printed = { stdout: '', stderr: '' };
  const code = await runCli(args);
  process.send({ code, ...printed });
});
