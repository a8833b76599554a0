// libpcap's compiler (pcap-filter(7) -> classic BPF) through koffi, without a capture of its own.
import koffi from 'koffi';

/** Link types of pcap-linktype(7) as libpcap numbers them (DLT_*). */
export const LINK_TYPE = { ethernet: 1, ip: 12 } as const;

const SNAP_LEN = 65_535;
const INSTRUCTION_LEN = 8;

export interface FilterCompiler {
  /** The program as bytes, 8 per instruction (struct sock_filter). Throws an Error with libpcap's words. */
  compile(filter: string, linkType: number): Uint8Array;
}

/** Throws an Error when the library cannot be loaded. */
export function loadFilterCompiler(): FilterCompiler {
  const lib = koffi.load('libpcap.so');
  const open = lib.func('intptr_t pcap_open_dead(int linktype, int snaplen)');
  const compile = lib.func(
    'int pcap_compile(intptr_t pcap, void *program, const char *filter, int optimize, uint32_t netmask)',
  );
  const free = lib.func('void pcap_freecode(void *program)');
  const error = lib.func('const char *pcap_geterr(intptr_t pcap)');
  const close = lib.func('void pcap_close(intptr_t pcap)');
  return {
    compile(filter, linkType) {
      const pcap = open(linkType, SNAP_LEN);
      // struct bpf_program: count (4), padding (4), pointer (8)
      const program = Buffer.from(new ArrayBuffer(16));
      try {
        if (compile(pcap, program, filter, 1, 0) !== 0) throw new Error(error(pcap));
        const byteLength = program.readUInt32LE(0) * INSTRUCTION_LEN;
        const instructions = new Uint8Array(koffi.view(program.readBigUInt64LE(8), byteLength)).slice();
        free(program);
        return instructions;
      } finally {
        close(pcap);
      }
    },
  };
}
