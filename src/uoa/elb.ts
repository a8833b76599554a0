// Dialect elb: over IPv6 a destination options header with the client's address; over IPv4 it is ipo.
import type { Family } from '../wire/address.ts';
import { addressOption, addressOptionLen } from './address-option.ts';
import { destinationOptions, type UoaForm, type UoaForms } from './form.ts';

function form(client: Family): UoaForm {
  const len = addressOptionLen(client);
  return destinationOptions(len, addressOption(client, len - 2));
}

export const elbOverIpv6: UoaForms = { 4: form(4), 6: form(6) };
