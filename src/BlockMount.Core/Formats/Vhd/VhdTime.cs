namespace BlockMount.Core.Formats.Vhd;

/// <summary>Time stamps of the format: seconds since 2000-01-01 00:00 UTC, unsigned.</summary>
internal static class VhdTime
{
    private static readonly DateTimeOffset Epoch = new(2000, 1, 1, 0, 0, 0, TimeSpan.Zero);

    public static uint Now() => (uint)Math.Clamp((DateTimeOffset.UtcNow - Epoch).TotalSeconds, 0, uint.MaxValue);

    /// <summary>A stamp that is not before now and later than <paramref name="last"/>, whatever the clock says.</summary>
    public static uint After(uint last) => Math.Max(Now(), last == uint.MaxValue ? last : last + 1);
}
