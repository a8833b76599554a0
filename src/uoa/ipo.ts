// Dialect ipo: IPv4 option 0x1f with the client's address. No receiver reads it over IPv6.
import type { Family } from '../wire/address.ts';
import { addressOption, addressOptionLen } from './address-option.ts';
import { ipv4Option, type UoaForm, type UoaForms } from './form.ts';

function form(client: Family): UoaForm {
  const len = addressOptionLen(client);
  return ipv4Option(len, addressOption(client, len));
}

export const ipoOverIpv4: UoaForms = { 4: form(4), 6: form(6) };
