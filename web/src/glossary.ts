// What the architecture's words mean to somebody who knows paging. Pure.

export const GLOSSARY: Readonly<Record<string, string>> = {
  IOVA: 'the address that a device uses, before it is translated',
  PA: 'physical address: where an access ends up',
  IPA: 'intermediate physical address: what stage 1 puts out and stage 2 takes in',
  ASID: 'the number of an address space (of a process)',
  VMID: 'the number of a virtual machine; 0 where there is none',
  STE: 'stream table entry: whether and how the accesses of one device are translated',
  CD: 'context descriptor: one address space, with its ASID and the place of its first table',
  Config: 'the field of an STE that chooses bypass, stage 1, stage 2, or both',
  'stage 1': 'tables of an operating system: from IOVA to PA, or to IPA in a virtual machine',
  'stage 2': 'tables of a hypervisor: from IPA to PA',
  descriptor: 'a word of a page table: it leads to the next table, to a page or block, or nowhere',
  CMD_TLBI_NH_VA: 'TLBI: invalidate TLBs; NH: what an operating system, no hypervisor, uses; VA: by address',
  CMD_SYNC: 'completes once the commands before it have had their effect',
  CERROR_ILL: 'the command is illegal, and the queue stops at it',
  F_TRANSLATION: 'the event by which software hears that nothing is mapped there',
  Regime: 'the exception level for which an entry was made',
  'NS-EL1': 'made for an operating system: exception level 1, Non-secure',
  PROD: 'where the driver puts the next command',
  CONS: 'where the SMMU takes the next command',
  wrap: 'flips when an index passes the end of the queue, so that full differs from empty',
  ERR: 'why the queue has stopped; 0: no error',
  RIL: 'range invalidation: whether commands may name a length',
  'walk cache': 'remembers the tables on the way to a leaf, as the IOTLB remembers leaves',
};

const WORDS = new RegExp(`(?<![\\w-])(${Object.keys(GLOSSARY).sort((a, b) => b.length - a.length).join('|')})(?![\\w-])`);

/** A text cut where its words of the glossary begin and end, each word once: every second piece is one. */
export function terms(text: string, known: ReadonlySet<string> = new Set()): string[] {
  const seen = new Set(known);
  const pieces = [''];
  for (const piece of text.split(new RegExp(WORDS, 'g'))) {
    const isTerm = GLOSSARY[piece] !== undefined && !seen.has(piece);
    if (isTerm) {
      seen.add(piece);
      pieces.push(piece, '');
    } else {
      pieces.push((pieces.pop() ?? '') + piece);
    }
  }
  return pieces;
}
