//! The fields of named tables, as `[stores.NAME]` and `[processors.NAME]`: one list, from which they are read, shown and
//! documented.

use super::values::Raw;

/// One field of a table.
#[derive(Debug)]
pub struct Field<T> {
    /// Its name in the table.
    pub name: &'static str,
    /// What may be written.
    pub kind: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Never shown; may come from a file named by `<NAME>_FILE`.
    pub secret: bool,
    /// Reads a value into the table.
    pub set: fn(&mut T, &Raw) -> Result<(), String>,
    /// The table's value, as one would write it.
    pub show: fn(&T) -> String,
}

/// Makes `FIELDS` of the fields of a struct, whose types are values of settings.
macro_rules! fields {
    ($table:ty { $($(#[doc = $doc:literal])+ $field:ident: $kind:ty;)+ }) => {
        /// Every field there is.
        pub const FIELDS: &[$crate::config::tables::Field<$table>] = &[$(
            $crate::config::tables::Field {
                name: stringify!($field),
                kind: <$kind as Value>::KIND,
                doc: concat!($($doc,)+),
                secret: <$kind as Value>::SECRET,
                set: |table, raw| {
                    table.$field = <$kind>::read(raw)?;
                    Ok(())
                },
                show: |table| table.$field.show(),
            },
        )+];
    };
}

pub(super) use fields;
