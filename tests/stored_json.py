"""Valid JSON that a database refuses, and similar JSON that it accepts. Tests try both on the code and on servers."""

NUMBERS_REFUSED = {
    "large exponent": b"1e999",
    "negative": b"-1e999",
    "capital": b"1E400",
    "with a plus": b"1e+309",
    "leading zeros": b"1e0000309",
    "zero with a large exponent": b"0e999",
    "zero with places": b"0.0e999",
    "exponent beyond any number": b"1e99999999999999999999",
    "just above a double": b"1.7976931348623159e308",
    "400 digits": b"9" * 400,
    "just above a double, in digits": b"17976931348623159" + b"0" * 292,
    "digits and an exponent": b"1" * 250 + b"e60",
    "digits and a short exponent": b"1" * 301 + b"e9",
}
KEYS_REFUSED = {
    "long": b'{"' + b"k" * 65_536 + b'":1}',
    "long, a blank behind": b'{"' + b"k" * 65_536 + b'" :1}',
    "of two bytes each": '{{"{}":1}}'.format("é" * 33_000).encode(),
    "escaped": b'{"' + rb"\u00e9" * 33_000 + b'":1}',
    "quotes": b'{"' + rb"\"" * 65_536 + b'":1}',
}
TAKEN = {
    "largest double": b"1.7976931348623157e308",
    "small": b"1e-999",
    "many places": b"0." + b"1" * 4_000,
    "places make up for the exponent": b"0." + b"0" * 400 + b"1e500",
    "308 digits": b"9" * 308,
    "309 digits": b"17976931348623157" + b"0" * 292,
    "text": b'"1e999 and E+999"',
    "text behind an escape": rb'"\\\" 1e999"',
    "digits in a text": b'"' + b"9" * 5_000 + b'"',
    "longest key": b'{"' + b"k" * 65_535 + b'":1}',
    "escaped key": b'{"' + rb"\u0041" * 65_535 + b'":1}',
    "long value": b'"' + b"v" * 70_000 + b'"',
    "long texts in a list": b'["' + b"v" * 70_000 + b'",1]',
    "empty": b"{}",
}
