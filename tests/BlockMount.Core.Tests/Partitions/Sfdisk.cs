using System.Globalization;
using System.Text.Json;
using BlockMount.Core.Partitions;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Partitions;

/// <summary>What sfdisk lists, field by field.</summary>
internal static class Sfdisk
{
    public static async Task AgreesAsync(PartitionTable table, string path)
    {
        using var json = JsonDocument.Parse(await Peer.RunOkAsync("sfdisk", "--json", path));
        var theirs = json.RootElement.GetProperty("partitiontable");
        Assert.Equal(theirs.GetProperty("label").GetString(), table.Scheme == PartitionScheme.Gpt ? "gpt" : "dos");
        Assert.Equal(theirs.GetProperty("sectorsize").GetInt32(), table.SectorSize);
        var id = theirs.GetProperty("id").GetString()!;
        Assert.Equal(id.StartsWith("0x", StringComparison.Ordinal) ? id[2..] : id.ToLowerInvariant(), table.DiskId);

        var partitions = theirs.TryGetProperty("partitions", out var list) ? list.EnumerateArray().ToArray() : [];
        Assert.Equal(partitions.Length, table.Partitions.Count);
        foreach (var (theirPart, ours) in partitions.Zip(table.Partitions))
        {
            Assert.Equal(theirPart.GetProperty("start").GetInt64() * table.SectorSize, ours.Start);
            Assert.Equal(theirPart.GetProperty("size").GetInt64() * table.SectorSize, ours.Length);
            Assert.EndsWith(ours.Number.ToString(CultureInfo.InvariantCulture), theirPart.GetProperty("node").GetString()!, StringComparison.Ordinal);
            var type = theirPart.GetProperty("type").GetString()!;
            Assert.Equal(table.Scheme == PartitionScheme.Gpt ? type.ToLowerInvariant() : "0x" + type, ours.TypeId);
            Assert.Equal(theirPart.TryGetProperty("name", out var name) ? name.GetString() : "", ours.Name);
            var bootable = theirPart.TryGetProperty("bootable", out var flag) ? flag.GetBoolean()
                : theirPart.TryGetProperty("attrs", out var attributes) && attributes.GetString()!.Contains("LegacyBIOSBootable", StringComparison.Ordinal);
            Assert.Equal(bootable, ours.Bootable);
            if (table.Scheme == PartitionScheme.Gpt)
            {
                Assert.Equal(theirPart.GetProperty("uuid").GetString()!.ToLowerInvariant(), ours.UniqueId);
            }
        }
    }
}
