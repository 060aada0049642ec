namespace BlockMount.Platform.Devices;

/// <summary>sda before sdb before sdaa, and nvme2n1 before nvme10n1: numbers by value, and what starts with the same two letters by how many they are first.</summary>
internal sealed class NameOrder : IComparer<string>
{
    public static NameOrder Instance { get; } = new();

    public int Compare(string? x, string? y)
    {
        var left = x.AsSpan();
        var right = y.AsSpan();
        while (!left.IsEmpty && !right.IsEmpty)
        {
            var leftRun = Run(left);
            var rightRun = Run(right);
            var first = Significant(leftRun);
            var second = Significant(rightRun);
            var order = IsSameKind(first, second) && first.Length != second.Length ? first.Length.CompareTo(second.Length) : first.SequenceCompareTo(second);
            if (order != 0)
            {
                return order;
            }

            left = left[leftRun.Length..];
            right = right[rightRun.Length..];
        }

        return left.Length != right.Length ? left.Length.CompareTo(right.Length) : string.CompareOrdinal(x, y);
    }

    /// <summary>The digits in front, or what is in front of the first digit.</summary>
    private static ReadOnlySpan<char> Run(ReadOnlySpan<char> text)
    {
        var isDigit = char.IsAsciiDigit(text[0]);
        var length = 1;
        while (length < text.Length && char.IsAsciiDigit(text[length]) == isDigit)
        {
            length++;
        }

        return text[..length];
    }

    /// <summary>Numbers, or names of one driver.</summary>
    private static bool IsSameKind(ReadOnlySpan<char> x, ReadOnlySpan<char> y) =>
        (IsNumber(x) && IsNumber(y)) || x[..Math.Min(2, x.Length)].SequenceEqual(y[..Math.Min(2, y.Length)]);

    private static bool IsNumber(ReadOnlySpan<char> run) => run.IsEmpty || char.IsAsciiDigit(run[0]);

    private static ReadOnlySpan<char> Significant(ReadOnlySpan<char> run) => char.IsAsciiDigit(run[0]) ? run.TrimStart('0') : run;
}
