namespace BlockMount.Core.Chain;

/// <summary>Tells content from zeros that need no file space.</summary>
internal static class ZeroStretches
{
    /// <summary>Bytes of a unit, at multiples of it on the disk: it is zero as a whole or counts as content.</summary>
    private const int Unit = 1 << 16;

    /// <summary>The stretches of <paramref name="data"/>, which lies at <paramref name="at"/> on the disk, in order: neighbouring units of a kind together.</summary>
    public static IEnumerable<(int From, int End, bool IsZero)> Of(long at, ReadOnlyMemory<byte> data)
    {
        for (var from = 0; from < data.Length;)
        {
            var isZero = IsZero(from);
            var end = UnitEnd(from);
            while (end < data.Length && IsZero(end) == isZero)
            {
                end = UnitEnd(end);
            }

            yield return (from, end, isZero);
            from = end;
        }

        bool IsZero(int from) => !data.Span[from..UnitEnd(from)].ContainsAnyExcept((byte)0);

        int UnitEnd(int from) => (int)Math.Min(data.Length, ((at + from) / Unit * Unit) + Unit - at);
    }
}
