// Dialect opp: protocol 248 between the IP header with its options and UDP, with the client's address in
// ipo's layout. Over IPv6 only as a carrier: with a large payload behind it, receivers bring down their
// kernel.
import type { Family } from '../wire/address.ts';
import { OPP_VERSION_4, OPP_VERSION_6 } from '../wire/opp.ts';
import { addressOption, addressOptionLen } from './address-option.ts';
import { oppHeader, type UoaForm, type UoaForms } from './form.ts';

function form(client: Family, inserted: boolean): UoaForm {
  const len = addressOptionLen(client);
  const version = client === 4 ? OPP_VERSION_4 : OPP_VERSION_6;
  return oppHeader(version, len, addressOption(client, len), inserted);
}

export const oppOverIpv4: UoaForms = { 4: form(4, true), 6: form(6, true) };
export const oppOverIpv6: UoaForms = { 4: form(4, false), 6: form(6, false) };
