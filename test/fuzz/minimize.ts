// Makes an input small that shows something: first without the steps that it can do without, then by
// fast-check's shrinking of what is left.
import fc from 'fast-check';
import { type Input, type Step, shrinkable } from './input.ts';

const SHRINK_MS = 15_000;

/** The shortest list of steps found that still shows it. */
export function withoutIdleSteps(input: Input, shows: (input: Input) => boolean): Input {
  let { steps } = input;
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = steps.length - size; at > -size; at -= size) {
      const fewer = steps.toSpliced(Math.max(0, at), size + Math.min(0, at));
      if (shows({ ...input, steps: fewer })) steps = fewer;
    }
  }
  return { ...input, steps };
}

export function minimized(input: Input, shows: (input: Input) => boolean): Input {
  const short = withoutIdleSteps(input, shows);
  const property = fc.property(shrinkable, (candidate) => {
    const { dialect4, dialect6 } = candidate.world;
    return (dialect4 ?? dialect6) === null || !shows(candidate);
  });
  const example: Input = { world: short.world, steps: short.steps.map(copied) };
  const { counterexample } = fc.check(property, {
    examples: [[example]],
    numRuns: 1,
    interruptAfterTimeLimit: SHRINK_MS,
  });
  return counterexample?.[0] ?? short;
}

const copied = (step: Step): Step => ({ ...step, packet: step.packet.slice() });
