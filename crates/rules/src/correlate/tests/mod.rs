//! The correlator against a reference written straight from the contract.

mod bounds;
mod harness;
mod order;
mod reference;
mod reload;
mod time;
mod worked;
