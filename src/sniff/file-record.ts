// A packet as a capture file of either format has it.
export interface FileRecord {
  linkType: number;
  /** Of the interface, where the file tells. */
  device: string;
  timeUs: number;
  wireLen: number;
  frame: Uint8Array;
}

/** No capture has longer packets: a record that says so is damaged. */
export const RECORD_MAX = 1 << 18;

/** Four bytes in the byte order of their file. */
export const word = (bytes: Buffer, at: number, isLittle: boolean): number =>
  isLittle ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at);
