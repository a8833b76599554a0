// Entry of a datapath process: signals are decided before anything else is loaded, which takes a while.
import { keepDebuggerShut } from './sys/debugger.ts';
import { ignoreOperatorsSignals, ignoreStraySignals } from './sys/signals.ts';

keepDebuggerShut();
ignoreStraySignals();
ignoreOperatorsSignals();
const { runWorker } = await import('./worker.ts');
runWorker();
