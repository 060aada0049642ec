using System.Security.Cryptography;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>Chains whose images are of different formats, made, written and read through the program.</summary>
public sealed class MixedChainTests : IDisposable
{
    private const int Size = (6 << 20) + 512;
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("vdi vmdk vhd")]
    [InlineData("vdi vhd vmdk")]
    [InlineData("vmdk vdi vhd")]
    [InlineData("vmdk vhd vdi")]
    [InlineData("vhd vdi vmdk")]
    [InlineData("vhd vmdk vdi")]
    public async Task A_chain_of_three_formats_is_made_written_over_nbd_and_streamed_and_zeros_over_parent_data_stay_zero(string kinds)
    {
        Peer.Require("nbdsh", "python3-libnbd");
        var kind = kinds.Split(' ');
        var model = new byte[Size];
        new Random(1).NextBytes(model.AsSpan(0, 5 << 20));
        await File.WriteAllBytesAsync(_folder["base.raw"], model);
        await Blockmount.OkAsync("convert", _folder["base.raw"], _folder["base." + kind[0]]);
        await Blockmount.OkAsync("create", _folder["middle." + kind[1]], "--parent", _folder["base." + kind[0]]);
        await WriteAsync("middle." + kind[1], model, (1, 1 << 20, 700_160), (0, 3 << 20, 65536), (2, 5_500_416, 4096));
        await Blockmount.OkAsync("create", _folder["leaf." + kind[2]], "--parent", _folder["middle." + kind[1]]);

        // Zeros over the base's data, over the middle's, over both, over nothing, and to the disk's last byte.
        await WriteAsync("leaf." + kind[2], model, (0, 4096, 512), (0, 1_048_064, 131_072), (3, 1_200_128, 512), (0, 2 << 20, 1 << 20), (0, 5_500_416, Size - 5_500_416), (4, Size - 512, 512));

        var expected = Convert.ToHexStringLower(SHA256.HashData(model));
        Assert.Equal(expected, await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {_folder["leaf." + kind[2]]} -"));
        Peer.Require("nbdcopy", "libnbd-bin");
        await using var server = await Server.StartAsync(_folder["s.sock"], "--read-only", _folder["leaf." + kind[2]]);
        Assert.Equal(expected, await Blockmount.Sha256OfAsync($"/usr/bin/nbdcopy '{server.Uri}' -"));
        Assert.Equal(0, await server.StopAsync());
    }

    /// <summary>Fills ranges with a value, or zeroes them where the value is 0, in the image and in the model.</summary>
    private async Task WriteAsync(string image, byte[] model, params (byte Value, int At, int Length)[] ranges)
    {
        await using var server = await Server.StartAsync(_folder["s.sock"], _folder[image]);
        var script = $"h.connect_uri('{server.Uri}')\n";
        foreach (var (value, at, length) in ranges)
        {
            script += value == 0 ? $"h.zero({length}, {at})\n" : $"h.pwrite(bytes([{value}]) * {length}, {at})\n";
            model.AsSpan(at, length).Fill(value);
        }

        await Peer.RunOkAsync("nbdsh", "-c", script + "h.flush()\n");
        Assert.Equal(0, await server.StopAsync());
        Assert.Equal(string.Empty, server.Errors.Trim());
    }
}
