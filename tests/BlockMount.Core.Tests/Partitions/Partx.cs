using System.Globalization;
using System.Text.RegularExpressions;
using BlockMount.Core.Partitions;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Partitions;

/// <summary>What partx, whose rules are the kernel's, lists of a disk of 512-byte sectors.</summary>
internal static partial class Partx
{
    public static async Task AgreesAsync(PartitionTable table, string path, string context = "")
    {
        Peer.Require("partx", "util-linux");
        var result = await Peer.RunAsync("partx", ["--pairs", "--output", "NR,START,SECTORS,UUID,TYPE,FLAGS", path]);
        var theirs = Line().Matches(result.Output).Select(match => match.Value);
        var ours = table.Partitions.Select(partition => string.Create(
            CultureInfo.InvariantCulture,
            $"NR=\"{partition.Number}\" START=\"{partition.Start / 512}\" SECTORS=\"{partition.Length / 512}\" UUID=\"{partition.UniqueId}\" TYPE=\"{partition.TypeId}\" FLAGS=\"0x{partition.Attributes:x}\""));
        Assert.Equal(context + string.Join('\n', theirs), context + string.Join('\n', ours));
    }

    [GeneratedRegex("NR=.*", RegexOptions.None, 1000)]
    private static partial Regex Line();
}
