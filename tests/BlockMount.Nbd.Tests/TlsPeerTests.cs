using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;

namespace BlockMount.Nbd.Tests;

/// <summary>TLS with the clients that others wrote, which bring GnuTLS with them.</summary>
public sealed class TlsPeerTests
{
    private const int Size = 24 << 20;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Nbdinfo_talks_through_tls(bool verifyPeer)
    {
        Peer.Require("nbdinfo", "libnbd-bin");
        await using var server = new TlsServer(new MemoryDevice(Size), verifyPeer: verifyPeer);
        var info = await Peer.RunOkAsync("nbdinfo", server.Uri(verifyPeer ? server.Clients : server.Anonymous));
        Assert.Contains("protocol: newstyle-fixed with TLS, using structured packets", info, StringComparison.Ordinal);
        Assert.Contains($"export-size: {Size}", info, StringComparison.Ordinal);
        Assert.Contains("export=\"disk\"", await Peer.RunOkAsync("nbdinfo", "--list", server.Uri(server.Clients)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_plain_client_is_told_that_tls_is_required()
    {
        Peer.Require("nbdinfo", "libnbd-bin");
        Peer.Require("qemu-img", "qemu-utils");
        await using var server = new TlsServer(new MemoryDevice(Size));
        var uri = $"nbd://localhost:{server.Port}/disk";
        foreach (var (program, arguments) in ((string, string[])[])[("nbdinfo", ["--size", uri]), ("qemu-img", ["info", uri])])
        {
            var result = await Peer.RunAsync(program, arguments);
            Assert.NotEqual(0, result.ExitCode);
            Assert.Contains("TLS", result.Error, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_client_of_another_authority_goes_away_and_the_next_one_is_served()
    {
        Peer.Require("nbdinfo", "libnbd-bin");
        await using var server = new TlsServer(new MemoryDevice(Size));
        using var other = new TestAuthority("another authority");
        var result = await Peer.RunAsync("nbdinfo", ["--size", server.Uri(other.WriteAuthority(server["other"]))]);
        Assert.NotEqual(0, result.ExitCode);
        Assert.Contains("certificate", result.Error, StringComparison.OrdinalIgnoreCase);
        Assert.Equal($"{Size}\n", await Peer.RunOkAsync("nbdinfo", "--size", server.Uri(server.Anonymous)));
    }

    [Fact]
    public async Task A_client_that_must_show_a_certificate_and_has_no_good_one_is_not_served()
    {
        Peer.Require("nbdinfo", "libnbd-bin");
        await using var server = new TlsServer(new MemoryDevice(Size), verifyPeer: true);
        using var other = new TestAuthority("another authority");
        using var stranger = other.Issue(TestAuthority.ForClients);
        using var serverOnly = server.Authority.Issue(TestAuthority.ForServers);
        using var expired = server.Authority.Issue(TestAuthority.ForClients, -3, -2);
        foreach (var directory in new[]
        {
            server.Anonymous,
            server.Authority.WriteClient(server["stranger"], stranger),
            server.Authority.WriteClient(server["server only"], serverOnly),
            server.Authority.WriteClient(server["expired"], expired),
        })
        {
            var result = await Peer.RunAsync("nbdinfo", ["--size", server.Uri(Uri.EscapeDataString(directory))], timeoutSeconds: 20);
            Assert.True(result.ExitCode != 0, $"{directory} got {result.Output}");
            Assert.Empty(result.Output);
        }

        Assert.Equal($"{Size}\n", await Peer.RunOkAsync("nbdinfo", "--size", server.Uri(server.Clients)));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Nbdcopy_copies_both_ways_over_four_connections(bool slow)
    {
        Peer.Require("nbdcopy", "libnbd-bin");
        var device = slow ? new SlowDevice(Size) : new MemoryDevice(Size);
        await using var server = new TlsServer(device);
        var content = new byte[Size];
        Random.Shared.NextBytes(content);
        content.AsSpan(5 << 20, 4 << 20).Clear();
        await File.WriteAllBytesAsync(server["in.raw"], content);
        await Peer.RunOkAsync("nbdcopy", "-C", "4", "--flush", server["in.raw"], server.Uri(server.Anonymous));
        Assert.True(device.Bytes.AsSpan().SequenceEqual(content));
        await Peer.RunOkAsync("nbdcopy", "-C", "4", "--request-size=65536", server.Uri(server.Anonymous), server["out.raw"]);
        Assert.True((await File.ReadAllBytesAsync(server["out.raw"])).AsSpan().SequenceEqual(content));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Qemu_compares_and_writes_through_tls(bool verifyPeer)
    {
        Peer.Require("qemu-img", "qemu-utils");
        var device = new MemoryDevice(Size);
        Random.Shared.NextBytes(device.Bytes.AsSpan(0, 3 << 20));
        await using var server = new TlsServer(device, verifyPeer: verifyPeer);
        await File.WriteAllBytesAsync(server["same.raw"], device.Bytes);
        string[] tls = ["--object", $"tls-creds-x509,id=t,endpoint=client,dir={(verifyPeer ? server.Clients : server.Anonymous)}", "--image-opts"];
        var nbd = $"driver=raw,file.driver=nbd,file.server.type=inet,file.server.host=localhost,file.server.port={server.Port},file.export=disk,file.tls-creds=t";
        Assert.Contains($"virtual size: 24 MiB ({Size} bytes)", await Peer.RunOkAsync("qemu-img", ["info", .. tls, nbd]), StringComparison.Ordinal);
        Assert.Contains(
            "Images are identical.",
            await Peer.RunOkAsync("qemu-img", ["compare", .. tls, nbd, $"driver=raw,file.driver=file,file.filename={server["same.raw"]}"]),
            StringComparison.Ordinal);
        await Peer.RunOkAsync("qemu-io", [.. tls, "-c", "write -P 7 4k 1M", "-c", "flush", "-c", "read -P 7 4k 1M", nbd]);
        Assert.True(device.Bytes.AsSpan(4096, 1 << 20).IndexOfAnyExcept((byte)7) < 0);
    }

    [Fact]
    public async Task Nbdsh_gets_answers_out_of_order_through_tls()
    {
        Peer.Require("nbdsh", "python3-libnbd");
        var device = new SlowDevice(Size);
        Random.Shared.NextBytes(device.Bytes);
        await using var server = new TlsServer(device);
        await File.WriteAllBytesAsync(server["same.raw"], device.Bytes);
        await Peer.RunOkAsync("nbdsh", "-c", $$"""
            h.set_uri_allow_local_file(True)
            h.connect_uri("{{server.Uri(server.Anonymous)}}")
            expected = open("{{server["same.raw"]}}", "rb").read()
            assert h.get_tls_negotiated()
            reads = []
            for i in range(200):
                length = 1 + (i * 7919) % 70000
                offset = (i * 104729) % (len(expected) - length)
                buffer = nbd.Buffer(length)
                reads.append((offset, length, buffer, h.aio_pread(buffer, offset)))
            for offset, length, buffer, cookie in reads:
                while not h.aio_command_completed(cookie):
                    h.poll(-1)
                assert buffer.to_bytearray() == expected[offset:offset + length]
            h.shutdown()
            """);
    }
}
