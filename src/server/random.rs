//! Secrets and seeds, from the system's random source.

use fastrand::Rng;

use crate::tracker::keyed_hash::HashKey;

use super::error::StartError;

fn fill_with_random(bytes: &mut [u8]) -> Result<(), StartError> {
    getrandom::fill(bytes).map_err(StartError::system("get random numbers"))
}

/// Returns a key that nobody knows.
///
/// # Errors
///
/// The system's.
pub fn new_hash_key() -> Result<HashKey, StartError> {
    let mut bytes = [0; 48];
    fill_with_random(&mut bytes)?;
    Ok(HashKey::from_bytes(&bytes))
}

/// Returns a generator whose numbers nobody can foretell who has not seen many of them.
///
/// # Errors
///
/// The system's.
pub(super) fn new_rng() -> Result<Rng, StartError> {
    Ok(Rng::with_seed(random_words()?.0))
}

/// Returns two random words.
///
/// # Errors
///
/// The system's.
pub fn random_words() -> Result<(u64, u64), StartError> {
    let (mut one, mut two) = ([0; 8], [0; 8]);
    fill_with_random(&mut one)?;
    fill_with_random(&mut two)?;
    Ok((u64::from_ne_bytes(one), u64::from_ne_bytes(two)))
}
