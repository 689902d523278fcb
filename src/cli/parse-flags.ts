import { ConfigError } from "../index.js";

type Parse = (text: string) => number;

export function parseCount(flag: string): Parse {
  return parser(flag, "a whole number >= 1", (value) => Number.isSafeInteger(value) && value >= 1);
}

export function parseInteger(flag: string): Parse {
  return parser(flag, "a whole number", Number.isSafeInteger);
}

/** Bits of a code; `isOptional` for 16, which stands for no codes at all. */
export function parseBits(flag: string, { isOptional }: { isOptional: boolean }): Parse {
  const isValid = (value: number): boolean =>
    Number.isInteger(value) && ((value >= 1 && value <= 8) || (isOptional && value === 16));
  return parser(flag, isOptional ? "1 to 8 bits, or 16 for none" : "1 to 8 bits", isValid);
}

export function parseNatural(flag: string): Parse {
  return parser(flag, "a whole number >= 0", (value) => Number.isSafeInteger(value) && value >= 0);
}

export function parseShare(flag: string): Parse {
  return parser(flag, "a number from 0 to 1", (value) => value >= 0 && value <= 1);
}

export function parsePort(flag: string): Parse {
  return parser(
    flag,
    "a whole number from 0 to 65535",
    (value) => Number.isInteger(value) && value >= 0 && value <= 65_535,
  );
}

export function parseTemperature(flag: string): Parse {
  return parser(flag, "a number >= 0", (value) => value >= 0);
}

export function parseAmount(flag: string): Parse {
  return parser(flag, "a number > 0", (value) => value > 0);
}

export function parseProbability(flag: string): Parse {
  return parser(flag, "a number > 0 and <= 1", (value) => value > 0 && value <= 1);
}

/** Reads decimal numbers only: what Number takes besides (0x10, empty text, Infinity) is a slip here. */
function parser(flag: string, wanted: string, isValid: (value: number) => boolean): Parse {
  return (text) => {
    const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
    if (Number.isFinite(value) && isValid(value)) return value;
    throw new ConfigError(`Cannot read the command line: ${flag} must be ${wanted}, got ${JSON.stringify(text)}`, {
      details: { flag, value: text },
    });
  };
}
