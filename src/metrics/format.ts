/** Numbers as people read them: short, in a fixed number of characters. */

/** Four significant digits, in at most 8 characters; integers and non-finite numbers are printed as they are. */
export function formatNumber(value: number): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value) || (Number.isInteger(value) && size < 1e6)) return String(value);
  return size >= 1e-2 && size < 1e4 ? value.toPrecision(4) : value.toExponential(2);
}

/** 999, 1.2k, 34k, 5.6M. */
export function formatCount(value: number): string {
  if (!(value >= 999.5)) return value.toFixed(0);
  const [scaled, unit] = value < 999_500 ? [value / 1e3, 'k'] : [value / 1e6, 'M'];
  return `${scaled.toFixed(scaled < 9.95 ? 1 : 0)}${unit}`;
}

/** 45s, 12m03s, 3h07m. */
export function formatDuration(seconds: number): string {
  const whole = Math.round(seconds);
  const pad = (value: number) => String(value).padStart(2, '0');
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m${pad(whole % 60)}s`;
  return `${Math.floor(whole / 3600)}h${pad(Math.floor((whole % 3600) / 60))}m`;
}
