//! An element's properties, each declared once: a row of a table has a property's name, type, default, nick, blurb, range and
//! flags, and becomes the field that holds its value.
//!
//! ```text
//! settings! {
//!     /// Values of all writable properties.
//!     pub(super) struct Settings {
//!         /// Since: 0.2.0
//!         #[shared]
//!         batch_size: u32 = 8, "Batch size", "Crops in one run", .maximum(64);
//!     }
//! }
//! ```
//!
//! declares the property `batch-size`. A property without `Since` is as old as its element. `#[shared]`: elements that share an
//! engine must have equal values. `#[here]`: no effect if servers run the network. `#[servers]`: no effect unless servers do.

use gst::{glib, prelude::*};

/// A type that a property can have.
pub(crate) trait Setting: Sized {
    type Builder<'a>
    where
        Self: 'a;

    /// Begins the property's specification.
    fn specify<'a>(name: &'a str, default: &'a Self) -> Self::Builder<'a>;

    fn read(value: &glib::Value) -> Self;

    fn write(&self) -> glib::Value;

    /// The value in a message to users; empty if there is none.
    fn text(&self) -> String;
}

macro_rules! plain {
    ($($type:ty: $spec:ident, $builder:ident;)*) => {$(
        impl Setting for $type {
            type Builder<'a> = glib::$builder<'a>;

            fn specify<'a>(name: &'a str, default: &'a Self) -> Self::Builder<'a> {
                glib::$spec::builder(name).default_value(*default)
            }

            fn read(value: &glib::Value) -> Self {
                get(value)
            }

            fn write(&self) -> glib::Value {
                self.to_value()
            }

            fn text(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

plain! {
    bool: ParamSpecBoolean, ParamSpecBooleanBuilder;
    i32: ParamSpecInt, ParamSpecIntBuilder;
    i64: ParamSpecInt64, ParamSpecInt64Builder;
    u32: ParamSpecUInt, ParamSpecUIntBuilder;
    u64: ParamSpecUInt64, ParamSpecUInt64Builder;
    f64: ParamSpecDouble, ParamSpecDoubleBuilder;
}

/// An empty string stands for none, as in a launch line's `skeleton=""`.
impl Setting for Option<String> {
    type Builder<'a> = glib::ParamSpecStringBuilder<'a>;

    fn specify<'a>(name: &'a str, default: &'a Self) -> Self::Builder<'a> {
        glib::ParamSpecString::builder(name).default_value(default.as_deref())
    }

    fn read(value: &glib::Value) -> Self {
        get::<Self>(value).filter(|text| !text.is_empty())
    }

    fn write(&self) -> glib::Value {
        self.to_value()
    }

    fn text(&self) -> String {
        self.clone().unwrap_or_default()
    }
}

impl Setting for String {
    type Builder<'a> = glib::ParamSpecStringBuilder<'a>;

    fn specify<'a>(name: &'a str, default: &'a Self) -> Self::Builder<'a> {
        glib::ParamSpecString::builder(name).default_value(Some(default.as_str()))
    }

    fn read(value: &glib::Value) -> Self {
        get::<Option<Self>>(value).unwrap_or_default()
    }

    fn write(&self) -> glib::Value {
        self.to_value()
    }

    fn text(&self) -> String {
        self.clone()
    }
}

/// A text that is never shown.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Secret(Option<String>);

impl Secret {
    pub fn reveal(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "(set)" } else { "(not set)" })
    }
}

/// Use it with `write_only`: GStreamer writes readable properties into its drawings of a pipeline.
impl Setting for Secret {
    type Builder<'a> = glib::ParamSpecStringBuilder<'a>;

    fn specify<'a>(name: &'a str, _default: &'a Self) -> Self::Builder<'a> {
        glib::ParamSpecString::builder(name)
    }

    fn read(value: &glib::Value) -> Self {
        Self(Setting::read(value))
    }

    fn write(&self) -> glib::Value {
        None::<String>.to_value()
    }

    /// A number that differs between values, and between processes.
    fn text(&self) -> String {
        static KEY: std::sync::LazyLock<std::hash::RandomState> = std::sync::LazyLock::new(Default::default);
        let number = |text: &String| std::hash::BuildHasher::hash_one(&*KEY, text);
        self.0.as_ref().map_or_else(String::new, |text| format!("(secret {:016x})", number(text)))
    }
}

pub(crate) fn get<'a, T: glib::value::FromValue<'a>>(value: &'a glib::Value) -> T {
    value.get().expect("GObject checks a property's type")
}

/// The nick of an enumeration's value.
pub(crate) fn nick(value: &glib::Value) -> String {
    glib::EnumValue::from_value(value).map_or_else(String::new, |(_, value)| value.nick().to_string())
}

/// Makes these enumerations types of properties, and visible to documentation tools (`mark_as_plugin_api`).
macro_rules! enumerations {
    ($($type:ident),* $(,)?) => {
        $(impl $crate::stage::properties::Setting for $type {
            type Builder<'a> = glib::ParamSpecEnumBuilder<'a, Self>;

            fn specify<'a>(name: &'a str, default: &'a Self) -> Self::Builder<'a> {
                glib::ParamSpecEnum::builder_with_default(name, *default)
            }

            fn read(value: &glib::Value) -> Self {
                $crate::stage::properties::get(value)
            }

            fn write(&self) -> glib::Value {
                self.to_value()
            }

            fn text(&self) -> String {
                $crate::stage::properties::nick(&self.to_value())
            }
        })*

        pub(super) fn mark_as_plugin_api() {
            for enumeration in [$($type::static_type()),*] {
                enumeration.mark_as_plugin_api(gst::PluginAPIFlags::empty());
            }
        }
    };
}

/// One property of the settings `S`.
pub(crate) struct Row<S> {
    pub specification: glib::ParamSpec,
    /// Makes another specification: GObject installs each in only one class.
    pub specify: fn() -> glib::ParamSpec,
    /// Elements that share an engine must have equal values.
    pub shared: bool,
    /// It has no effect if servers run the network.
    pub here: bool,
    /// It has no effect unless servers run the network.
    pub servers: bool,
    pub set: fn(&mut S, &glib::Value),
    pub get: fn(&S) -> glib::Value,
    pub text: fn(&S) -> String,
}

impl<S> Row<S> {
    /// The property's row; none for read-only properties, which are not settings.
    pub fn find<'a>(rows: &'a [Self], property: &str) -> Option<&'a Self> {
        rows.iter().find(|row| row.specification.name() == property)
    }
}

/// Settings that are declared as a table.
pub(crate) trait Table: Default + 'static {
    fn rows() -> &'static [Row<Self>];
}

/// Declares the struct of the settings, its defaults and its table.
macro_rules! settings {
    (
        $(#[$about:meta])*
        $visible:vis struct $settings:ident {
            $(
                $(#[$mark:meta])*
                $field:ident: $type:ty = $default:expr, $nick:literal, $blurb:literal
                $(, .$more:ident($($argument:expr),*))*;
            )*
        }
    ) => {
        $(#[$about])*
        $visible struct $settings {
            $(pub $field: $type,)*
        }

        impl Default for $settings {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::stage::properties::Table for $settings {
            fn rows() -> &'static [$crate::stage::properties::Row<Self>] {
                use gst::prelude::*;
                use $crate::stage::properties::{Row, Setting};

                static ROWS: std::sync::LazyLock<Vec<Row<$settings>>> = std::sync::LazyLock::new(|| {
                    vec![$({
                        let specify = || {
                            let name = stringify!($field).replace('_', "-");
                            let default = $settings::default();
                            let builder = Setting::specify(&name, &default.$field).nick($nick).blurb($blurb);
                            builder$(.$more($($argument),*))*.build()
                        };
                        Row {
                            specification: specify(),
                            specify,
                            shared: false $(|| stringify!($mark) == "shared")*,
                            here: false $(|| stringify!($mark) == "here")*,
                            servers: false $(|| stringify!($mark) == "servers")*,
                            set: |settings, value| settings.$field = Setting::read(value),
                            get: |settings| settings.$field.write(),
                            text: |settings| settings.$field.text(),
                        }
                    },)*]
                });
                &ROWS
            }
        }
    };
}

pub(crate) use {enumerations, settings};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_told_apart_and_not_shown() {
        let secret = |text: &str| Secret::read(&text.to_value());
        let texts = [secret("hunter2"), secret("hunter2"), secret("hunter3")].map(|secret| secret.text());
        assert!(texts[0] == texts[1] && texts[0] != texts[2]);
        assert_eq!(secret("").text(), "");
        let shown =
            [texts.join(" "), format!("{:?}", secret("hunter2")), format!("{:?}", secret("hunter2").write())];
        assert!(shown.iter().all(|text| !text.contains("hunter")), "{shown:?}");
        assert_eq!(secret("hunter2").reveal(), Some("hunter2"));
    }
}
