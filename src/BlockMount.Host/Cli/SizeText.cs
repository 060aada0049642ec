using System.Globalization;

namespace BlockMount.Host.Cli;

/// <summary>Sizes as people write them: <c>4096</c>, <c>64K</c>, <c>1.5G</c>; powers of 1024.</summary>
internal static class SizeText
{
    private const string Units = "KMGTPE";

    /// <summary>Bytes, or null when the text is no size or not a whole number of bytes.</summary>
    public static long? Parse(string text)
    {
        var trimmed = text.Trim();
        if (trimmed.EndsWith("iB", StringComparison.OrdinalIgnoreCase))
        {
            trimmed = trimmed[..^2];
        }
        else if (trimmed.EndsWith('B') || trimmed.EndsWith('b'))
        {
            trimmed = trimmed[..^1];
        }

        var unit = trimmed.Length == 0 ? -1 : Units.IndexOf(char.ToUpperInvariant(trimmed[^1]), StringComparison.Ordinal);
        var number = unit < 0 ? trimmed : trimmed[..^1];
        if (!decimal.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value))
        {
            return null;
        }

        for (var i = 0; i <= unit; i++)
        {
            value *= 1024;
        }

        return value <= long.MaxValue && value == Math.Floor(value) ? (long)value : null;
    }

    /// <summary>Short form with the exact bytes behind it when they differ: <c>1.5 GiB</c>.</summary>
    public static string Show(long bytes)
    {
        if (bytes < 1024)
        {
            return string.Create(CultureInfo.InvariantCulture, $"{bytes} B");
        }

        var value = (double)bytes;
        var unit = -1;
        while (value >= 1024 && unit < Units.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{value:0.##} {Units[unit]}iB");
    }
}
