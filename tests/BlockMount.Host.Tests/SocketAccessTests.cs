using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>Who may connect to the socket of a running host.</summary>
public sealed class SocketAccessTests : IDisposable
{
    private const int Nobody = 65534;
    private const int Stranger = 54321;
    private readonly TempFolder _folder = new();

    public SocketAccessTests()
    {
        Peer.RequireRoot();
        Peer.Require("nbdinfo", "libnbd-bin");
        Peer.Require("setpriv", "util-linux");
        File.SetUnixFileMode(_folder.Root, (UnixFileMode)0b111_101_101);
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Only_the_owner_may_connect_unless_a_mode_is_given()
    {
        await using (var server = await StartAsync())
        {
            Assert.Equal("600 0 0", await StatAsync());
            Assert.NotEqual(0, (await InfoAsAsync(Nobody)).ExitCode);
            Assert.Equal(0, await server.StopAsync());
        }

        await using (var server = await StartAsync("--socket-mode", "0666"))
        {
            Assert.Equal("666 0 0", await StatAsync());
            Assert.Equal(0, (await InfoAsAsync(Nobody)).ExitCode);
            Assert.Equal(0, await server.StopAsync());
        }
    }

    [Theory]
    [InlineData("nobody", "600 65534 0")]
    [InlineData("65534:54321", "600 65534 54321")]
    [InlineData(":54321", "600 0 54321")]
    [InlineData("nobody:root", "600 65534 0")]
    public async Task The_socket_can_be_given_to_another_user(string owner, string expected)
    {
        await using var server = await StartAsync("--socket-owner", owner);

        Assert.Equal(expected, await StatAsync());
        Assert.Equal(expected.Contains("65534", StringComparison.Ordinal) ? 0 : 1, (await InfoAsAsync(Nobody)).ExitCode);
        Assert.NotEqual(0, (await InfoAsAsync(Stranger)).ExitCode);
        Assert.Equal(0, await server.StopAsync());
        Assert.Equal(["disk.vdi"], Directory.GetFileSystemEntries(_folder.Root).Select(Path.GetFileName));
    }

    [Fact]
    public async Task Users_who_are_not_named_are_closed_before_the_handshake_and_told_of_once_each()
    {
        await using var server = await StartAsync("--socket-mode", "0666", "--allow-uid", "nobody", "--allow-uid", "0");
        for (var i = 0; i < 3; i++)
        {
            Assert.NotEqual(0, (await InfoAsAsync(Stranger)).ExitCode);
            Assert.NotEqual(0, (await InfoAsAsync(Stranger + 1)).ExitCode);
        }

        Assert.Equal(0, (await InfoAsAsync(Nobody)).ExitCode);
        Assert.Equal(0, (await InfoAsAsync(0)).ExitCode);
        Assert.Equal(0, await server.StopAsync());
        Assert.Single(server.Errors.Split('\n'), l => l.Contains($"uid {Stranger}: refused", StringComparison.Ordinal));
        Assert.Single(server.Errors.Split('\n'), l => l.Contains($"uid {Stranger + 1}: refused", StringComparison.Ordinal));
        Assert.DoesNotContain("uid 65534: refused", server.Errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Even_the_own_user_is_kept_out_when_only_another_is_named()
    {
        await using var server = await StartAsync("--allow-uid", "nobody");

        Assert.NotEqual(0, (await InfoAsAsync(0)).ExitCode);
        Assert.Equal(0, await server.StopAsync());
    }

    [Theory]
    [InlineData("--socket-mode 888", "0 to 0777")]
    [InlineData("--socket-mode 1777", "0 to 0777")]
    [InlineData("--socket-mode rw", "0 to 0777")]
    [InlineData("--socket-owner nosuchuser", "no user 'nosuchuser'")]
    [InlineData("--socket-owner root:nosuchgroup", "no group 'nosuchgroup'")]
    [InlineData("--socket-owner :", "USER:GROUP")]
    [InlineData("--socket-owner 4294967295", "no user")]
    [InlineData("--allow-uid nosuchuser", "no user 'nosuchuser'")]
    [InlineData("--allow-uid 0 --tcp 127.0.0.1:0", "leave out one")]
    [InlineData("--allow-uid 0 -p 0", "leave out one")]
    public async Task What_makes_no_sense_is_refused(string options, string sentence)
    {
        await Blockmount.OkAsync("create", _folder["disk.vdi"], "--size", "1M");

        var error = await Blockmount.FailsAsync(2, ["serve", "-k", _folder["s.sock"], _folder["disk.vdi"], .. options.Split(' ')]);
        Assert.Contains(sentence, error, StringComparison.Ordinal);
        Assert.Equal(["disk.vdi"], Directory.GetFileSystemEntries(_folder.Root).Select(Path.GetFileName));
    }

    [Fact]
    public async Task The_options_need_a_socket_that_others_can_reach()
    {
        await Blockmount.OkAsync("create", _folder["disk.vdi"], "--size", "1M");

        Assert.Contains("needs --socket", await Blockmount.FailsAsync(2, "serve", _folder["disk.vdi"], "--socket-mode", "0666"), StringComparison.Ordinal);
        Assert.Contains("needs --socket", await Blockmount.FailsAsync(2, "serve", _folder["disk.vdi"], "--socket-owner", "0"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Somebody_who_may_not_give_files_away_is_told_so_and_leaves_nothing()
    {
        await Blockmount.OkAsync("create", _folder["disk.vdi"], "--size", "1M");
        File.SetUnixFileMode(_folder.Root, (UnixFileMode)0b111_111_111);
        File.SetUnixFileMode(_folder["disk.vdi"], (UnixFileMode)0b110_110_110);

        var refused = await Blockmount.RunAsNobodyAsync("serve", "-k", _folder["s.sock"], "--socket-owner", "root", _folder["disk.vdi"]);
        Assert.Equal(4, refused.ExitCode);
        Assert.Contains("given to user 0", refused.Error, StringComparison.Ordinal);
        Assert.Equal(["disk.vdi"], Directory.GetFileSystemEntries(_folder.Root).Select(Path.GetFileName));
    }

    private async Task<Server> StartAsync(params string[] options)
    {
        if (!File.Exists(_folder["disk.vdi"]))
        {
            await Blockmount.OkAsync("create", _folder["disk.vdi"], "--size", "1M");
        }

        return await Server.StartAsync(_folder["s.sock"], [.. options, _folder["disk.vdi"]]);
    }

    private async Task<string> StatAsync() => (await Peer.RunOkAsync("stat", "-c", "%a %u %g", _folder["s.sock"])).Trim();

    private Task<PeerResult> InfoAsAsync(int user) => Peer.RunAsync(
        "setpriv", [$"--reuid={user}", $"--regid={user}", "--clear-groups", "/usr/bin/nbdinfo", "--size", $"nbd+unix:///?socket={_folder["s.sock"]}"]);
}
