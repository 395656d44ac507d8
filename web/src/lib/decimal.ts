/** Sums of money. Amounts are decimal strings, and a binary fraction would not add up to the cent. */

/** The exact sum of decimal strings; what is no decimal counts as zero. */
export function sumDecimals(amounts: Iterable<string>): string {
  let sum = 0n;
  let scale = 0;
  for (const amount of amounts) {
    const match = /^([+-]?)(\d+)(?:\.(\d*))?$/.exec(amount);
    if (!match) continue;
    const fraction = match[3] ?? "";
    if (fraction.length > scale) {
      sum *= 10n ** BigInt(fraction.length - scale);
      scale = fraction.length;
    }
    const digits = BigInt((match[2] ?? "0") + fraction.padEnd(scale, "0"));
    sum += match[1] === "-" ? -digits : digits;
  }
  const digits = (sum < 0n ? -sum : sum).toString().padStart(scale + 1, "0");
  const text = scale === 0 ? digits : `${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
  return sum < 0n ? `-${text}` : text;
}

/**
 * At least two decimals, and as many as it takes to show three digits that are not zero: 0.00 4.20 0.000123.
 */
export function shortDecimal(amount: string): string {
  const match = /^(-?\d+)(?:\.(\d*))?$/.exec(amount);
  if (!match) return amount;
  const fraction = (match[2] ?? "").replace(/0+$/, "");
  const zeros = /^-?0$/.test(match[1] ?? "") ? /^0*/.exec(fraction)![0].length : 0;
  const keep = Math.max(2, fraction === "" ? 2 : zeros + (zeros > 0 ? 3 : 2));
  return `${match[1]}.${fraction.slice(0, keep).padEnd(2, "0")}`;
}
