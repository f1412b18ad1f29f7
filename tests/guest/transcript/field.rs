//! Field by field: numbers, bytes and objects, as the format writes them.

use core::{fmt, marker::PhantomData};

use serde::de::{
    Deserialize, Deserializer, Error, MapAccess, Unexpected, Visitor, value::MapAccessDeserializer,
};

use super::Width;

/// What `version` is where it is absent.
pub(super) fn version_1() -> f64 {
    1.0
}

/// What `mask` is where it is absent.
pub(super) fn all_ones() -> u64 {
    u64::MAX
}

/// A version of the format that this reader knows.
pub(super) fn version<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let version = f64::deserialize(from)?;
    if [1.0, 1.1].contains(&version) {
        Ok(version)
    } else {
        Err(Error::custom(format_args!("version {version} of the format is unknown, expected 1 or 1.1")))
    }
}

/// The size of a register access.
pub(super) fn width<'de, D: Deserializer<'de>>(from: D) -> Result<Width, D::Error> {
    match u64::deserialize(from)? {
        4 => Ok(Width::Word),
        8 => Ok(Width::Doubleword),
        other => Err(Error::invalid_value(Unexpected::Unsigned(other), &"a size of 4 or 8")),
    }
}

/// A decimal number or a string such as `"0x1f"`.
pub(super) fn number<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<T, D::Error> {
    let number = from.deserialize_any(Number)?;
    T::try_from(number).map_err(|_| {
        Error::custom(format_args!("{number:#x} is out of range, expected {} bits", size_of::<T>() * 8))
    })
}

/// [`number`], for a field which need not be there; `null` is no number.
pub(super) fn optional_number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    number(from).map(Some)
}

/// Bytes as hexadecimal digits, for a field which need not be there; `null` is no bytes.
pub(super) fn optional_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
    hex::serde::deserialize(from).map(Some)
}

/// An object; serde alone would take an array of its values too.
pub(super) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Object::deserialize(from).map(|Object(value)| value)
}

/// [`object`], for a field which need not be there; `null` is no object.
pub(super) fn optional_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    object(from).map(Some)
}

/// A list of objects.
pub(super) fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    let list = Vec::<Object<T>>::deserialize(from)?;
    Ok(list.into_iter().map(|Object(value)| value).collect())
}

/// [`objects`], for a field which need not be there; `null` is no list.
pub(super) fn optional_objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<Vec<T>>, D::Error> {
    objects(from).map(Some)
}

struct Number;

impl Visitor<'_> for Number {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, decimal or as \"0x..\"")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        // `from_str_radix` alone would take a sign.
        text.strip_prefix("0x")
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .ok_or_else(|| {
                Error::invalid_value(Unexpected::Str(text), &"a number of at most 64 bits as \"0x..\"")
            })
    }
}

struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Map<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Map<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        from.deserialize_map(Map(PhantomData))
    }
}
