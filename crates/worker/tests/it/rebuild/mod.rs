//! I6: the database can be lost. A rebuild gives the same rows again, from the stores alone, whatever state files are in; it
//! may die at any point, and may run beside everything else.

mod damage;
mod interruptions;
mod notes;
mod records;
mod restoring;
mod revisions;
pub mod scene;
