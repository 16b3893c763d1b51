//! Second readings of the same documentation: they share no code with the product,
//! and nobody has to make them fast.

pub mod content;
pub mod host;
pub mod text;
