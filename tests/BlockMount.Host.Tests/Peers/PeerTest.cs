using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Peers;

/// <summary>A client of others' making against <c>blockmount serve</c> on a copy of one of the <see cref="PeerDisks"/>.</summary>
public abstract class PeerTest(PeerDisks disks) : IDisposable
{
    private readonly TempFolder _folder = new();
    private readonly TempFolder _images = new();
    private string? _leaf;

    private protected PeerDisks Disks => disks;

    private protected TempFolder Folder => _folder;

    private protected string Leaf => _leaf ?? throw new InvalidOperationException("ServeAsync comes first.");

    public void Dispose()
    {
        _folder.Dispose();
        _images.Dispose();
        GC.SuppressFinalize(this);
    }

    private protected async Task<Server> ServeAsync(string kind, params string[] options)
    {
        _leaf = await disks.CopyAsync(kind, _images.Root);
        return await Server.StartAsync(_folder["s.sock"], [.. PeerDisks.IsReadOnly(kind) ? ["--read-only"] : Array.Empty<string>(), .. options, _leaf]);
    }

    /// <summary>The server ends well and has had nothing to complain about.</summary>
    private protected static async Task StopAsync(Server server)
    {
        Assert.Equal(0, await server.StopAsync());
        Assert.Equal(string.Empty, server.Errors.Trim());
    }

    /// <summary>What the image holds now, read by another process.</summary>
    private protected async Task<byte[]> ContentAsync()
    {
        var path = _folder[$"content-{Guid.NewGuid():N}.raw"];
        await Blockmount.OkAsync("convert", Leaf, path);
        return await File.ReadAllBytesAsync(path);
    }

    private protected static void AssertSame(ReadOnlyMemory<byte> expected, ReadOnlyMemory<byte> found)
    {
        Assert.Equal(expected.Length, found.Length);
        var same = expected.Span.CommonPrefixLength(found.Span);
        Assert.True(same == expected.Length, $"the bytes at {same} differ");
    }

    /// <summary>A map covers the whole disk in order, and calls nothing zero that is not.</summary>
    /// <returns>Bytes that the map calls zero.</returns>
    private protected static long CheckMap(string json, string start, byte[] content, Func<JsonElement, bool> isZero)
    {
        using var document = JsonDocument.Parse(json);
        long at = 0, zeros = 0;
        foreach (var extent in document.RootElement.EnumerateArray())
        {
            Assert.Equal(at, extent.GetProperty(start).GetInt64());
            var length = extent.GetProperty("length").GetInt64();
            if (isZero(extent))
            {
                Assert.True(content.AsSpan((int)at, (int)length).IndexOfAnyExcept((byte)0) < 0, $"{length} bytes at {at} are called zero and are not");
                zeros += length;
            }

            at += length;
        }

        Assert.Equal(content.Length, at);
        return zeros;
    }
}
