using System.Text.Json;
using BlockMount.Core.Tests.Partitions;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Partitions;

/// <summary>A disk of the test's own as a file, and what <c>partitions</c> says of it.</summary>
internal sealed class TableFile : IDisposable
{
    private readonly TempFolder _folder = new();

    public TableFile(long sectors = 131072) => Disk = new SparseDisk(sectors * 512);

    public SparseDisk Disk { get; }

    public string Path => _folder["disk.raw"];

    public string this[string name] => _folder[name];

    /// <summary>The document; whatever is wrong with a table, the command says so and exits with 0.</summary>
    public async Task<TableDocument> ShowAsync(params string[] options)
    {
        Disk.SaveTo(Path);
        var result = await Blockmount.RunAsync(["partitions", "--json", Path, .. options]);
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.Empty(result.Error);
        return TableDocument.Parse(result.Output);
    }

    public void Dispose() => _folder.Dispose();
}

/// <summary>The parts of the document that tests look at.</summary>
internal sealed record TableDocument(JsonElement Root)
{
    public string? Scheme => Text(Root, "partition_scheme");

    public IEnumerable<JsonElement> Partitions => Root.GetProperty("partitions").EnumerateArray();

    /// <summary>Number, first sector and sectors of 512 bytes.</summary>
    public IEnumerable<(int Number, long Start, long Count)> Ranges =>
        Partitions.Select(p => (p.GetProperty("number").GetInt32(), p.GetProperty("start").GetInt64() / 512, p.GetProperty("size").GetInt64() / 512));

    public IEnumerable<int> Overlapping => Partitions.Where(p => p.GetProperty("overlapping").GetBoolean()).Select(p => p.GetProperty("number").GetInt32());

    /// <summary>Severity and code of each, in words.</summary>
    public IEnumerable<string> Findings => Root.GetProperty("diagnostics").EnumerateArray().Select(d => $"{Text(d, "severity")} {Text(d, "code")}");

    public static TableDocument Parse(string json)
    {
        using var document = JsonDocument.Parse(json);
        return new TableDocument(document.RootElement.Clone());
    }

    public static string? Text(JsonElement element, string name) => element.TryGetProperty(name, out var value) ? value.GetString() : null;
}
