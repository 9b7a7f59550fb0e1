//! Enums whose values have fixed names in messages, in HTTP and in the database.
//!
//! This stays a macro of ours. serde writes the names and cannot give them as `&'static str`, and a derive of another crate
//! would bring a dependency and two traits to import for what stands here in thirty lines. The compiler refuses a list
//! that lacks a value.

/// Generates, for an enum without fields: `ALL`, `as_str`, `from_name` and `Display`.
macro_rules! names {
    ($type:ident { $($variant:ident = $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in messages, in HTTP and in the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The value of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use names;
