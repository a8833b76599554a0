// Where BPF programs are attached, to interfaces of the current namespace (XDP and tc ingress) and to
// cgroups, and pins, by which maps and links outlive processes (bpf(2), BPF_OBJ_PIN). By libbpf. A link
// belongs to its descriptor and its pins, and what it attaches is gone with the last of them; a filter of
// clsact stays until it is taken off.
import { BpfError, check, library, memoryOf, structOf } from './libbpf-library.ts';

const ATTACH_TYPE_XDP = 37;
const ATTACH_TYPE_TCX_INGRESS = 46;
/** BPF_TC_INGRESS. */
const INGRESS = 1;
/** BPF_TC_F_REPLACE. */
const REPLACE = 1;
const EEXIST = 17;
const ENOENT = 2;
const EINVAL = 22;

const BPF_F_BEFORE = 1 << 3;

/** XDP_FLAGS_DRV_MODE: by the driver or not at all. */
export const XDP_NATIVE = 1 << 2;

/**
 * Attaches an XDP program to an interface of the current namespace, for as long as the returned link is open
 * or pinned. Throws a BpfError: EBUSY or EEXIST where there is another one, EOPNOTSUPP where the driver
 * cannot.
 */
export function attachXdp(program: number, interfaceIndex: number, flags: number): number {
  return createLink(program, interfaceIndex, ATTACH_TYPE_XDP, flags);
}

/**
 * The same for tc ingress, in front of those that are there (tcx, Linux 6.6; before it the error is EINVAL).
 */
export function attachTcx(program: number, interfaceIndex: number): number {
  return createLink(program, interfaceIndex, ATTACH_TYPE_TCX_INGRESS, BPF_F_BEFORE);
}

/**
 * The same for a cgroup (of version 2), which `folder` is a descriptor of: beside those that are there.
 * `type` is an enum bpf_attach_type. EPERM: a program is there that lets no other one in.
 */
export function attachToCgroup(program: number, folder: number, type: number): number {
  return createLink(program, folder, type, 0);
}

function createLink(program: number, target: number, type: number, flags: number): number {
  // struct bpf_link_create_opts up to flags
  const options = structOf(16);
  options.writeUInt32LE(flags, 8);
  return check(library().bpf_link_create(program, target, type, options), 'bpf_link_create');
}

/** Which cgroup a link is attached to, by its number; 0n: it is gone. Throws a BpfError. */
export function cgroupOfLink(link: number): bigint {
  // struct bpf_link_info: type, number, program's number (4 each), padding, cgroup (8), attach type
  const info = memoryOf(32);
  const length = memoryOf(4);
  length.writeUInt32LE(info.length);
  check(library().bpf_obj_get_info_by_fd(link, info, length), 'bpf_obj_get_info_by_fd');
  return info.readBigUInt64LE(16);
}

/** Takes its program off at once, whoever has the link open. Throws a BpfError. */
export function detachLink(link: number): void {
  check(library().bpf_link_detach(link), 'bpf_link_detach');
}

/**
 * Puts a program in the place of a link's own, between two packets. Throws a BpfError; ENOLINK: its interface
 * is gone.
 */
export function updateLink(link: number, program: number): void {
  check(library().bpf_link_update(link, program, null), 'bpf_link_update');
}

/** The number of the XDP program of an interface, in whatever mode; 0: there is none. Throws a BpfError. */
export function xdpProgramOf(interfaceIndex: number): number {
  const options = structOf(32); // struct bpf_xdp_query_opts
  check(library().bpf_xdp_query(interfaceIndex, 0, options), 'bpf_xdp_query');
  return [8, 12, 16, 20].map((at) => options.readUInt32LE(at)).find((id) => id !== 0) ?? 0;
}

/** Which of an interface's filters: what a priority and handle name. */
export interface FilterPlace {
  interfaceIndex: number;
  priority: number;
  handle: number;
}

/**
 * Attaches a program to tc ingress by clsact, in the place of the filter that was there. A qdisc clsact is
 * made where there is none, and stays. Throws a BpfError.
 */
export function attachFilter(program: number, place: FilterPlace): void {
  const hook = hookOf(place);
  const made = library().bpf_tc_hook_create(hook);
  if (made !== -EEXIST) check(made, 'bpf_tc_hook_create');
  const options = filterOptions(place);
  options.writeInt32LE(program, 8);
  options.writeUInt32LE(REPLACE, 12);
  check(library().bpf_tc_attach(hook, options), 'bpf_tc_attach');
}

/** Not an error where there is none. Throws a BpfError. */
export function detachFilter(place: FilterPlace): void {
  const result = library().bpf_tc_detach(hookOf(place), filterOptions(place));
  if (!isNoFilter(result)) check(result, 'bpf_tc_detach');
}

/** The number of the filter's program; 0: there is none. Throws a BpfError. */
export function programOfFilter(place: FilterPlace): number {
  const options = filterOptions(place);
  const result = library().bpf_tc_query(hookOf(place), options);
  if (isNoFilter(result)) return 0;
  check(result, 'bpf_tc_query');
  return options.readUInt32LE(16);
}

/** Without a qdisc the kernel says EINVAL. */
const isNoFilter = (result: number): boolean => result === -ENOENT || result === -EINVAL;

function hookOf({ interfaceIndex }: FilterPlace): Buffer {
  const hook = structOf(24); // struct bpf_tc_hook
  hook.writeInt32LE(interfaceIndex, 8);
  hook.writeUInt32LE(INGRESS, 12);
  return hook;
}

function filterOptions({ priority, handle }: FilterPlace): Buffer {
  const options = structOf(32); // struct bpf_tc_opts
  options.writeUInt32LE(handle, 20);
  options.writeUInt32LE(priority, 24);
  return options;
}

/** Gives a map, program or link a name in a bpffs. Throws a BpfError: EEXIST where it is taken. */
export function pin(fd: number, path: string): void {
  const result = library().bpf_obj_pin(fd, path);
  if (result < 0) throw new BpfError('bpf_obj_pin', -result, `: ${path}`);
}

/** Opens what is pinned; undefined: nothing is. Throws a BpfError. */
export function openPinned(path: string): number | undefined {
  const fd = library().bpf_obj_get(path);
  if (fd === -ENOENT) return undefined;
  if (fd < 0) throw new BpfError('bpf_obj_get', -fd, `: ${path}`);
  return fd;
}
