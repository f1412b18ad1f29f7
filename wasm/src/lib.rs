//! One SMMU with some memory beside it, for JavaScript.
//!
//! This package translates and decides nothing: numbers come in, plain data goes out, and whatever an integrator or a
//! script got wrong becomes one kind of exception, made by `into_error`. A 64-bit value is a `bigint`.

mod ram;
mod registers;

use ram::Ram;
use smmuv3::{
    Abort, ConfigError, Env, Features, Iova, Memory, NoInterrupts, NoTrace, Pa, RegisterError, Response,
    Settings, Smmu, StreamId, Terminated, Transaction, Translation,
};
use wasm_bindgen::prelude::*;

pub use registers::Field;

/// IOTLB entries that every machine has memory for; `Machine::new` chooses how many of them are in use.
const IOTLB_ENTRIES: usize = 4096;

/// An SMMUv3.2 and the physical memory that its tables and queues live in.
#[wasm_bindgen]
pub struct Machine {
    smmu: Box<Smmu<IOTLB_ENTRIES>>,
    ram: Ram,
}

#[wasm_bindgen]
impl Machine {
    /// A machine at reset, with an IOTLB of `sets` × `ways` entries.
    #[wasm_bindgen(constructor)]
    pub fn new(sets: u32, ways: u32) -> Result<Machine, JsError> {
        let smmu = Smmu::new(Features::SMMUV3_2, Settings::new(sets, ways)).map_err(into_error)?;
        Ok(Self { smmu: Box::new(smmu), ram: Ram::default() })
    }

    /// Reads 32 bits of the register window.
    pub fn read(&self, offset: u32) -> Result<u32, JsError> {
        let mut data = [0; 4];
        self.smmu.read(offset, &mut data).map_err(into_error)?;
        Ok(u32::from_le_bytes(data))
    }

    /// Reads 64 bits of the register window.
    pub fn read64(&self, offset: u32) -> Result<u64, JsError> {
        let mut data = [0; 8];
        self.smmu.read(offset, &mut data).map_err(into_error)?;
        Ok(u64::from_le_bytes(data))
    }

    /// Writes 32 bits of the register window.
    pub fn write(&mut self, offset: u32, value: u32) -> Result<(), JsError> {
        self.write_bytes(offset, &value.to_le_bytes())
    }

    /// Writes 64 bits of the register window.
    pub fn write64(&mut self, offset: u32, value: u64) -> Result<(), JsError> {
        self.write_bytes(offset, &value.to_le_bytes())
    }

    /// Whether commands are left to be consumed.
    #[wasm_bindgen(getter)]
    pub fn pending(&self) -> bool {
        self.smmu.pending()
    }

    /// Consumes at most `budget` commands and returns how many there were.
    pub fn poll(&mut self, budget: u32) -> u32 {
        let mut env = Env { memory: &mut self.ram, interrupts: &mut NoInterrupts, trace: &mut NoTrace };
        self.smmu.poll(budget, &mut env)
    }

    /// Puts bytes into physical memory, as software on a CPU would.
    pub fn poke(&mut self, pa: u64, data: &[u8]) -> Result<(), JsError> {
        self.ram.write(Pa(pa), data).map_err(into_error)
    }

    /// Copies bytes out of physical memory; what was never written is zero.
    pub fn peek(&self, pa: u64, length: u32) -> Result<Vec<u8>, JsError> {
        let mut data = vec![0; length as usize];
        self.ram.read(Pa(pa), &mut data).map_err(into_error)?;
        Ok(data)
    }

    /// Lets a device read or write at an address of its own, and tells what became of it.
    pub fn dma(&mut self, stream: u32, address: u64, write: bool) -> Dma {
        let (stream, address) = (StreamId(stream), Iova(address));
        let transaction =
            if write { Transaction::write(stream, address) } else { Transaction::read(stream, address) };
        let mut env = Env { memory: &mut self.ram, interrupts: &mut NoInterrupts, trace: &mut NoTrace };
        self.smmu.translate(&transaction, &mut env).into()
    }

    /// Every field of the ID registers, in the order of their addresses.
    #[wasm_bindgen(js_name = idFields)]
    pub fn id_fields(&self) -> Vec<Field> {
        let values = self.smmu.registers();
        registers::ID_FIELDS.iter().map(|row| row.holding(values.get(row.register))).collect()
    }
}

impl Machine {
    fn write_bytes(&mut self, offset: u32, data: &[u8]) -> Result<(), JsError> {
        let mut env = Env { memory: &mut self.ram, interrupts: &mut NoInterrupts, trace: &mut NoTrace };
        self.smmu.write(offset, data, &mut env).map_err(into_error)
    }
}

/// What became of a transaction: it has either a `pa` and a `span`, or a `response` and perhaps an `event`.
#[wasm_bindgen(getter_with_clone, inspectable)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dma {
    /// The physical address that was reached.
    #[wasm_bindgen(readonly)]
    pub pa: Option<u64>,
    /// Bytes from `pa` on that the same translation covers.
    #[wasm_bindgen(readonly)]
    pub span: Option<u64>,
    /// How a transaction that got nowhere ended: `abort`, `raz/wi` or `stalled`.
    #[wasm_bindgen(readonly)]
    pub response: Option<String>,
    /// The architecture's name of the event that was recorded for it.
    #[wasm_bindgen(readonly)]
    pub event: Option<String>,
}

impl From<Result<Translation, Terminated>> for Dma {
    fn from(result: Result<Translation, Terminated>) -> Self {
        match result {
            Ok(Translation { pa, span, .. }) => {
                Self { pa: Some(pa.0), span: Some(span), response: None, event: None }
            }
            Err(Terminated { response, event, .. }) => {
                let response = match response {
                    Response::Abort => "abort",
                    Response::RazWi => "raz/wi",
                    Response::Stalled(_) => "stalled",
                };
                let event = event.map(|kind| kind.name().to_owned());
                Self { pa: None, span: None, response: Some(response.to_owned()), event }
            }
        }
    }
}

/// The one place where a refusal becomes an exception.
fn into_error(refusal: impl Into<Refusal>) -> JsError {
    let message = match refusal.into() {
        Refusal::Config(error) => error.to_string(),
        Refusal::Register(RegisterError::InvalidRegister) => {
            "the offset is outside of the two register pages".to_owned()
        }
        Refusal::Register(RegisterError::InvalidSize) => "an access has 4 or 8 bytes".to_owned(),
        Refusal::Register(RegisterError::Unaligned) => {
            "the offset is no multiple of the access's size".to_owned()
        }
        Refusal::Memory(Abort) => "there is no memory at this address".to_owned(),
    };
    JsError::new(&message)
}

/// Everything that can be refused here.
enum Refusal {
    Config(ConfigError),
    Register(RegisterError),
    Memory(Abort),
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<RegisterError> for Refusal {
    fn from(error: RegisterError) -> Self {
        Self::Register(error)
    }
}

impl From<Abort> for Refusal {
    fn from(abort: Abort) -> Self {
        Self::Memory(abort)
    }
}
