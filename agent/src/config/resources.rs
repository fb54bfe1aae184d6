//! What the flags say of the machine: a number, or `auto`.

use std::str::FromStr;

use ringrift_core::limits;

use super::{ConfigError, setting};
use crate::capacity::Given;

/// The word for: whatever there is.
const AUTO: &str = "auto";
/// Processors of one node: above it one machine cannot be meant.
const CPUS_MAX: u32 = 65_536;

pub(super) fn given(cpus: &str, memory_mib: &str, gpus: &str) -> Result<Given, ConfigError> {
    let cpu_milli = unless_auto(cpus).map(|text| {
        milli(text).filter(|milli| *milli <= CPUS_MAX * 1_000).ok_or_else(|| {
            let problem = format!(
                "is {text:?}; give a number up to {CPUS_MAX} with at most three decimals, or {AUTO}"
            );
            setting("--cpus", problem)
        })
    });
    let memory_mib = unless_auto(memory_mib).map(|text| number("--memory-mib", text, u32::MAX));
    let gpu_devices = unless_auto(gpus).map(|text| number("--gpus", text, limits::NODE_GPUS_MAX));
    Ok(Given {
        cpu_milli: cpu_milli.transpose()?,
        memory_mib: memory_mib.transpose()?,
        gpu_devices: gpu_devices.transpose()?,
    })
}

fn unless_auto(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| *text != AUTO)
}

fn number<T>(flag: &'static str, text: &str, most: T) -> Result<T, ConfigError>
where
    T: FromStr + PartialOrd + std::fmt::Display,
{
    let number = text.parse().ok().filter(|number| *number <= most);
    number.ok_or_else(|| {
        setting(flag, format!("is {text:?}; give a number from 0 to {most}, or {AUTO}"))
    })
}

/// Thousandths, as a decimal number is written: `3`, `3.5`, `0.125`.
fn milli(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return None;
    }
    let part: u32 = format!("{part:0<3}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(1_000)?.checked_add(part)
}
