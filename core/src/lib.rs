//! A model of the Arm System MMU, version 3.2: Arm IHI 0070 (issue G.b), Non-secure programming interface. Translation
//! tables are those of VMSAv8-64: Arm DDI 0487. `§` cites the former.
//!
//! A device is a plain value, [`Smmu`]. Physical memory, interrupt lines and a watcher are lent to each call. Nothing
//! allocates, blocks, keeps time, or loops without bound, and nothing that a guest writes can panic.
//!
//! # Layers
//!
//! A module imports from the layers above it in this list, never from those below.
//!
//! * [`arch`]: the vocabulary: bit fields, addresses, identifiers, features, faults, translations as values.
//! * [`format`]: bytes to values and back: registers, commands, events, STE, CD, descriptors. Knows no memory.
//! * [`mod@env`]: what is lent: [`Memory`], [`Interrupts`], [`Trace`].
//! * [`walk`]: the truth without caches, from structures to addresses. Knows no queue.
//! * [`cache`]: what is remembered, and what an invalidation names as a value.
//! * [`device`]: all of it wired together.
//! * `shared` (feature `sync`): the device behind a spin lock. Aside, [`fmt`]: every step as a log record.
//!
//! # Example
//!
//! ```
//! use smmuv3::{Env, Features, Iova, Memory, NoInterrupts, NoTrace, Settings, Smmu, StreamId, Transaction};
//! # use smmuv3::{Abort, Pa};
//! # struct Ram(Vec<u8>);
//! # impl Memory for Ram {
//! #     fn read(&self, pa: Pa, data: &mut [u8]) -> Result<(), Abort> {
//! #         let start = pa.0 as usize;
//! #         data.copy_from_slice(self.0.get(start..start + data.len()).ok_or(Abort)?);
//! #         Ok(())
//! #     }
//! #     fn write(&mut self, pa: Pa, data: &[u8]) -> Result<(), Abort> {
//! #         let start = pa.0 as usize;
//! #         self.0.get_mut(start..start + data.len()).ok_or(Abort)?.copy_from_slice(data);
//! #         Ok(())
//! #     }
//! # }
//! let mut ram = Ram(vec![0; 0x4000]);
//! // Stream 1: stage 1, its CD at 0x1000; 4 KiB granule, 39 bits, table at 0x2000, whose entry 1 is a 1 GiB block.
//! ram.write(Pa(64), &0x100b_u64.to_le_bytes())?;
//! ram.write(Pa(0x1000), &0x6202_c000_0019_u64.to_le_bytes())?;
//! ram.write(Pa(0x1008), &0x2000_u64.to_le_bytes())?;
//! ram.write(Pa(0x2008), &0x8000_0741_u64.to_le_bytes())?;
//!
//! let mut smmu = Smmu::<64>::new(Features::SMMUV3_2, Settings::new(16, 4)).unwrap();
//! let mut env = Env { memory: &mut ram, interrupts: &mut NoInterrupts, trace: &mut NoTrace };
//! smmu.write(0x88, &1_u32.to_le_bytes(), &mut env).unwrap(); // STRTAB_BASE_CFG: two STEs at address 0
//! smmu.write(0x20, &1_u32.to_le_bytes(), &mut env).unwrap(); // CR0.SMMUEN
//! let read = Transaction::read(StreamId(1), Iova(0x4000_1234));
//! assert_eq!(smmu.translate(&read, &mut env).unwrap().pa, Pa(0x8000_1234));
//! # Ok::<(), Abort>(())
//! ```

#![no_std]
#![forbid(unsafe_code)]

pub mod fmt;

pub mod arch;
pub mod format;

pub mod env;

pub mod walk;

pub mod cache;

pub mod device;

#[cfg(feature = "sync")]
pub mod shared;

pub use arch::addr::{Granule, Iova, Ipa, Level, Pa, Stage};
pub use arch::attributes::{Attributes, MemoryType, Shareability};
pub use arch::features::{ConfigError, Features};
pub use arch::id::{Asid, Stag, StreamId, StreamWorld, SubstreamId, Vmid};
pub use device::{
    AtsGrant, AtsRefusal, Behaviour, Configuration, PageRequest, PageRequestOutcome, RegisterError, Response,
    Resumed, Settings, Smmu, Terminated, Transaction, Translation,
};
pub use env::interrupt::{Interrupt, Interrupts, NoInterrupts};
pub use env::memory::{Abort, Memory};
pub use env::trace::{AtcCompletion, NoTrace, Step, Trace};
pub use env::{Env, Host};
pub use format::command::{AtcInvalidation, Command, PageResponse};
pub use format::event::{Event, EventKind, PageHint};
pub use walk::permission::Access;
