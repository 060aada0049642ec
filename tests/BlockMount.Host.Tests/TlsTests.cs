using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary><c>serve --tls-certificates</c>.</summary>
public sealed class TlsTests : IDisposable
{
    private const int Size = 24 << 20;

    private readonly TempFolder _folder = new();
    private readonly TestAuthority _authority = new();

    public TlsTests()
    {
        var content = new byte[Size];
        new Random(5).NextBytes(content.AsSpan(0, Size / 2));
        File.WriteAllBytes(_folder["disk.raw"], content);
        _authority.WriteServer(_folder["server"]);
        _authority.WriteClient(_folder["client"]);
        _authority.WriteAuthority(_folder["anonymous"]);
    }

    public void Dispose()
    {
        _authority.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public async Task A_chain_is_copied_over_four_connections_and_a_plain_client_gets_nothing()
    {
        Peer.Require("nbdcopy", "libnbd-bin");
        await Blockmount.OkAsync("convert", _folder["disk.raw"], _folder["base.vdi"]);
        await Blockmount.OkAsync("create", _folder["leaf.vdi"], "--parent", _folder["base.vdi"]);
        await using var server = await StartAsync("--tls-certificates", _folder["server"], _folder["leaf.vdi"]);
        var uri = Uri(server, "anonymous");
        await Peer.RunOkAsync("nbdcopy", "-C", "4", uri, _folder["copy.raw"]);
        Assert.True(File.ReadAllBytes(_folder["copy.raw"]).AsSpan().SequenceEqual(File.ReadAllBytes(_folder["disk.raw"])));
        await Peer.RunOkAsync("/bin/sh", "-c", $"tr '\\000' 'z' < '{_folder["copy.raw"]}' > '{_folder["new.raw"]}'");
        await Peer.RunOkAsync("nbdcopy", "-C", "4", "--flush", _folder["new.raw"], uri);

        var plain = await Peer.RunAsync("nbdinfo", ["--size", uri.Split('?')[0].Replace("nbds:", "nbd:", StringComparison.Ordinal)]);
        Assert.NotEqual(0, plain.ExitCode);
        Assert.Contains("TLS", plain.Error, StringComparison.Ordinal);

        // The Unix socket has its mode, and stays as it is.
        Assert.Equal($"{Size}\n", await Peer.RunOkAsync("nbdinfo", "--size", server.Uri));
        Assert.Equal(0, await server.StopAsync());
        Assert.Equal(await Blockmount.Sha256OfAsync($"cat '{_folder["new.raw"]}'"), await Blockmount.Sha256OfAsync($"'{Blockmount.Program}' convert '{_folder["leaf.vdi"]}' -"));
    }

    [Fact]
    public async Task Clients_show_certificates_where_they_must()
    {
        Peer.Require("nbdinfo", "libnbd-bin");
        await using var server = await StartAsync("--tls-certificates", _folder["server"], "--tls-verify-peer", "-v", "-f", "raw", _folder["disk.raw"]);
        Assert.NotEqual(0, (await Peer.RunAsync("nbdinfo", ["--size", Uri(server, "anonymous")])).ExitCode);
        Assert.Equal($"{Size}\n", await Peer.RunOkAsync("nbdinfo", "--size", Uri(server, "client")));
        Assert.Equal(0, await server.StopAsync());
        Assert.Contains("the TLS handshake failed: it shows no certificate", server.Errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Tls_may_be_left_to_the_client()
    {
        Peer.Require("nbdinfo", "libnbd-bin");
        await using var server = await StartAsync("--tls-certificates", _folder["server"], "--tls", "on", "-f", "raw", _folder["disk.raw"]);
        var uri = Uri(server, "anonymous");
        Assert.Equal($"{Size}\n", await Peer.RunOkAsync("nbdinfo", "--size", uri));
        Assert.Equal($"{Size}\n", await Peer.RunOkAsync("nbdinfo", "--size", uri.Split('?')[0].Replace("nbds:", "nbd:", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task A_private_key_that_others_may_read_is_warned_about()
    {
        File.SetUnixFileMode(_folder["server/server-key.pem"], (UnixFileMode)Convert.ToInt32("644", 8));
        await using var server = await StartAsync("--tls-certificates", _folder["server"], "-f", "raw", _folder["disk.raw"]);
        Assert.Equal(0, await server.StopAsync());
        Assert.Contains($"warning: {_folder["server/server-key.pem"]}: others than its owner may read the private key", server.Errors, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("server-cert.pem", 1, "there is no such file")]
    [InlineData("server-key.pem", 2, "private key in PEM form")]
    public async Task Files_that_cannot_be_used_are_named_before_anything_is_bound(string file, int code, string text)
    {
        File.Delete(_folder["server/" + file]);
        if (code == 2)
        {
            File.WriteAllText(_folder["server/" + file], "something else\n");
        }

        var error = await Blockmount.FailsAsync(
            code, "serve", "--socket", _folder["made/s"], "--tcp", "127.0.0.1:0", "--tls-certificates", _folder["server"], "-f", "raw", _folder["disk.raw"]);
        Assert.Contains($"{_folder["server/" + file]}: ", error, StringComparison.Ordinal);
        Assert.Contains(text, error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(_folder["made"]));
    }

    [Fact]
    public async Task Options_that_make_no_sense_together_are_refused()
    {
        Assert.Contains("--tls-certificates", await FailsAsync("--tls", "require"), StringComparison.Ordinal);
        Assert.Contains("--tls-certificates", await FailsAsync("--tls-verify-peer"), StringComparison.Ordinal);
        Assert.Contains("--tls off", await FailsAsync("--tls", "off", "--tls-verify-peer", "--tls-certificates", _folder["server"]), StringComparison.Ordinal);
        Assert.Contains("add --tcp", await Blockmount.FailsAsync(2, "serve", "--socket", _folder["s"], "--tls-certificates", _folder["server"], "-f", "raw", _folder["disk.raw"]), StringComparison.Ordinal);

        Task<string> FailsAsync(params string[] tls) =>
            Blockmount.FailsAsync(2, ["serve", "--socket", _folder["s"], "--tcp", "127.0.0.1:0", .. tls, "-f", "raw", _folder["disk.raw"]]);
    }

    private Task<Server> StartAsync(params string[] arguments) => Server.StartAsync(_folder["s"], ["--tcp", "127.0.0.1:0", .. arguments]);

    /// <summary>What the server printed for TCP clients, with the name its certificate has.</summary>
    private string Uri(Server server, string certificates)
    {
        var printed = Assert.Single(server.Uris, line => line.StartsWith("nbds://127.0.0.1:", StringComparison.Ordinal));
        return $"{printed.Replace("127.0.0.1", "localhost", StringComparison.Ordinal)}?tls-certificates={_folder[certificates]}";
    }
}
