//! Time and randomness of the real world, behind the ports through which everything else takes them.

mod clock;
mod random;

pub use clock::{SystemClock, wall_time};
pub use random::{SystemRandom, secret_text};
