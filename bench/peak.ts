// The search for the peak: the most packets per second that a forwarder delivers while it loses at most 1%. Knows no
// network: it is given a function that offers a rate and says what came of it.

export interface Step {
  /** Packets per second: asked for, really sent, delivered. */
  asked: number;
  offered: number;
  delivered: number;
  /** Packets. */
  sent: number;
  lost: number;
}

export interface Peak {
  /** The step that delivered most of those that lost at most LOSS_LIMIT. */
  step: Step;
  /** The most that any step of the search delivered, whatever it lost. */
  most: number;
  /** What ended the search: loss, the generator's own limit, or the end of the ladder. */
  limitedBy: 'forwarder' | 'generator' | 'ladder';
}

export const LOSS_LIMIT = 0.01;
export const LADDER = [
  10_000, 20_000, 50_000, 100_000, 150_000, 200_000, 250_000, 300_000, 400_000, 500_000, 600_000, 800_000,
  1_000_000, 1_500_000,
] as const;

export const lossOf = ({ sent, lost }: Step): number => (sent > 0 ? lost / sent : 0);
const isGood = (step: Step): boolean => lossOf(step) <= LOSS_LIMIT;
/** The generator could not; when it cannot the next rate either, more load is not to be had. */
const fellShort = ({ asked, offered }: Step): boolean => offered < 0.9 * asked;

/**
 * Climbs the ladder until a rate loses too much twice in a row (once may be somebody else's doing), then halves the gap
 * `refinements` times.
 */
export async function findPeak<S extends Step>(
  offer: (rate: number) => Promise<S>,
  { ladder = LADDER, refinements = 3 }: { ladder?: readonly number[]; refinements?: number } = {},
): Promise<Peak & { step: S }> {
  let best: S | undefined;
  let most: S | undefined;
  const attempt = async (rate: number): Promise<S> => {
    let step = await offer(rate);
    if (!isGood(step)) {
      const again = await offer(rate);
      if (lossOf(again) < lossOf(step)) step = again;
    }
    if (isGood(step) && step.delivered > (best?.delivered ?? 0)) best = step;
    if (step.delivered > (most?.delivered ?? 0)) most = step;
    return step;
  };

  let good = 0;
  let bad = 0;
  let shortfalls = 0;
  let limitedBy: Peak['limitedBy'] = 'ladder';
  for (const rate of ladder) {
    const step = await attempt(rate);
    if (!isGood(step)) {
      limitedBy = 'forwarder';
      bad = rate;
      break;
    }
    good = rate;
    shortfalls = fellShort(step) ? shortfalls + 1 : 0;
    if (shortfalls === 2) {
      limitedBy = 'generator';
      break;
    }
  }
  for (let n = 0; n < refinements && bad > 0; n++) {
    const middle = Math.round((good + bad) / 2);
    if (isGood(await attempt(middle))) good = middle;
    else bad = middle;
  }
  const step = best ?? most;
  if (step === undefined) throw new Error('nothing was delivered at any rate');
  return { step, most: most?.delivered ?? 0, limitedBy };
}
