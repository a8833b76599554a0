// What went by per second between two samples: of all services, of one, of one real server. What the live
// view shows and `top --json` prints is made of these; undefined is what cannot be told.
import type { Counters, Drops, ServerReport } from '../admin/report.ts';
import { type Rate, type Sample, serverIn } from './sample.ts';

type DropReason = keyof Drops;

export interface FlowRates {
  inboundPackets: number | undefined;
  inboundBits: number | undefined;
  inboundForwarded: number | undefined;
  outboundPackets: number | undefined;
  outboundBits: number | undefined;
  outboundForwarded: number | undefined;
  /** Of those forwarded, by the fast path. */
  inboundFast: number | undefined;
  outboundFast: number | undefined;
  sessionsCreated: number | undefined;
  sessionsExpired: number | undefined;
  sessionsEvicted: number | undefined;
  uoaInserted: number | undefined;
  uoaCarrier: number | undefined;
  uoaHeader: number | undefined;
  uoaAcked: number | undefined;
  uoaFailed: number | undefined;
  dropped: number | undefined;
  /** Without those that are 0, most first. */
  drops: Partial<Record<DropReason, number>>;
}

export interface TotalRates extends FlowRates {
  /** Before the proxy saw them. */
  lost: number | undefined;
  /** The kernel refused to send them. */
  refused: number | undefined;
}

export interface ServerRates {
  inboundPackets: number | undefined;
  outboundPackets: number | undefined;
}

/** `after` names the drop reasons that there are. */
export function totalRates(per: Rate, after: Sample): TotalRates {
  return {
    ...flowRates(per, after, ({ stats }) => stats),
    lost: per(({ stats: { io } }) => io.lostKernel + io.lostBacklog),
    refused: per(
      ({ stats: { io } }) =>
        io.sendTooBig + io.sendNoBuffer + io.sendUnresolved + io.sendUnreachable + io.sendError,
    ),
  };
}

export const serviceRates = (per: Rate, after: Sample, service: string): FlowRates =>
  flowRates(per, after, ({ services }) => services.find(({ name }) => name === service));

export function serverRates(per: Rate, service: string, server: ServerReport): ServerRates {
  const counter = (name: keyof ServerReport['counters']) =>
    per((sample) => serverIn(sample, service, server)?.counters[name]);
  return { inboundPackets: counter('inboundPackets'), outboundPackets: counter('outboundPackets') };
}

/**
 * Of the packets that went on, how many went by the fast path; undefined where none did, or it cannot be
 * told.
 */
export function fastShare({
  inboundFast,
  outboundFast,
  inboundForwarded,
  outboundForwarded,
}: FlowRates): number | undefined {
  if (inboundFast === undefined || outboundFast === undefined) return undefined;
  const all = (inboundForwarded ?? 0) + (outboundForwarded ?? 0);
  return all === 0 ? undefined : (inboundFast + outboundFast) / all;
}

type Part = (sample: Sample) => { counters: Counters; drops: Drops } | undefined;

function flowRates(per: Rate, after: Sample, part: Part): FlowRates {
  const counter = (name: keyof Counters) => per((sample) => part(sample)?.counters[name]);
  const bits = (name: keyof Counters) => {
    const bytes = counter(name);
    return bytes && bytes * 8;
  };
  const reasons = Object.keys(part(after)?.drops ?? {}) as DropReason[];
  return {
    inboundPackets: counter('inboundPackets'),
    inboundBits: bits('inboundBytes'),
    inboundForwarded: counter('inboundForwarded'),
    outboundPackets: counter('outboundPackets'),
    outboundBits: bits('outboundBytes'),
    outboundForwarded: counter('outboundForwarded'),
    inboundFast: counter('inboundFast'),
    outboundFast: counter('outboundFast'),
    sessionsCreated: counter('sessionsCreated'),
    sessionsExpired: counter('sessionsExpired'),
    sessionsEvicted: counter('sessionsEvicted'),
    uoaInserted: counter('uoaInserted'),
    uoaCarrier: counter('uoaCarrier'),
    uoaHeader: counter('uoaHeader'),
    uoaAcked: counter('uoaAcked'),
    uoaFailed: counter('uoaFailed'),
    dropped: per((sample) => {
      const drops = part(sample)?.drops;
      return drops && reasons.reduce((sum, reason) => sum + drops[reason], 0);
    }),
    drops: Object.fromEntries(
      reasons
        .map((reason) => [reason, per((sample) => part(sample)?.drops[reason]) ?? 0] as const)
        .filter(([, value]) => value > 0)
        .sort(([, a], [, b]) => b - a),
    ),
  };
}
