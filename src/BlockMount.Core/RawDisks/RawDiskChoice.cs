using System.Globalization;
using BlockMount.Core.Errors;

namespace BlockMount.Core.RawDisks;

/// <summary>One partition that a machine is to get.</summary>
/// <param name="Number">As Linux numbers it, 1 to 256.</param>
/// <param name="IsReadOnly">Whether the machine may only read it.</param>
public readonly record struct RawPartitionChoice(int Number, bool IsReadOnly);

/// <summary>What of a disk a machine is to get, and how.</summary>
public sealed record RawDiskChoice
{
    /// <summary>Partition numbers that exist.</summary>
    public const int MaximumNumber = 256;

    /// <summary>The partitions; null for the whole disk.</summary>
    public IReadOnlyList<RawPartitionChoice>? Partitions { get; init; }

    /// <summary>Name the nodes of the partitions instead of the disk's, so that rights to those are enough.</summary>
    public bool IsRelative { get; init; }

    /// <summary>Let the machine write to no device.</summary>
    public bool IsReadOnly { get; init; }

    /// <summary>Boot code for the machine's copy of the first sector; its disk signature and partition records stay. Null keeps the disk's.</summary>
    public ReadOnlyMemory<byte>? BootSector { get; init; }

    /// <summary>Full path to record for the disk, such as one of <c>/dev/disk/by-id</c>; null takes the node itself.</summary>
    public string? DiskPath { get; init; }

    /// <summary>Reads a list such as <c>1,5r</c>: numbers, each with <c>r</c> behind it when it may only be read.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.InvalidArgument"/> for anything else, and for a number that stands twice.</exception>
    public static IReadOnlyList<RawPartitionChoice> ParsePartitions(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var chosen = new SortedDictionary<int, RawPartitionChoice>();
        foreach (var item in text.Split(',', (2 * MaximumNumber) + 1))
        {
            var word = item.Trim();
            var isReadOnly = word.EndsWith('r');
            if (!int.TryParse(isReadOnly ? word[..^1] : word, NumberStyles.None, CultureInfo.InvariantCulture, out var number) || number is < 1 or > MaximumNumber)
            {
                throw new DiskException(
                    ErrorKind.InvalidArgument,
                    $"the partition list has '{ShownText.Short(word)}'; allowed are numbers from 1 to {MaximumNumber} with commas between them, each with an r behind it when it may only be read, such as 1,5r.");
            }

            if (!chosen.TryAdd(number, new(number, isReadOnly)))
            {
                throw new DiskException(ErrorKind.InvalidArgument, $"the partition list has number {number} twice.");
            }
        }

        return [.. chosen.Values];
    }
}
