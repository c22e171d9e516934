//! Random bytes from the system.

use rand::TryRng as _;
use rand::rngs::SysRng;

/// The system returned no random bytes.
#[derive(Debug)]
pub struct RngUnavailable;

/// Bytes from the system's generator: a fork or a clone of the machine does not repeat them.
///
/// # Errors
/// [`RngUnavailable`] if the system returns none.
pub fn random<const N: usize>() -> Result<[u8; N], RngUnavailable> {
    let mut bytes = [0u8; N];
    fill_random(&mut bytes)?;
    Ok(bytes)
}

/// The same, in place.
///
/// # Errors
/// [`RngUnavailable`] if the system returns none.
pub fn fill_random(bytes: &mut [u8]) -> Result<(), RngUnavailable> {
    SysRng.try_fill_bytes(bytes).map_err(|_| RngUnavailable)
}
