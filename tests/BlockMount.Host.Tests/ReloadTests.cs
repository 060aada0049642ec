using System.Globalization;
using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>A configuration that is read again while clients are at work.</summary>
public sealed class ReloadTests : IDisposable
{
    private static readonly JsonSerializerOptions s_lines = new() { WriteIndented = true };

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Of_fifty_exports_those_that_stay_the_same_are_not_touched_while_fio_verifies_and_others_come_go_and_change()
    {
        Peer.Require("fio", "fio");
        for (var i = 0; i < 53; i++)
        {
            await File.WriteAllBytesAsync(_folder[$"{i}.raw"], new byte[64 << 10]);
        }

        await Blockmount.OkAsync("create", _folder["kept.vdi"], "--size", "48M");
        await WriteAsync(Enumerable.Range(0, 50).Select(i => Export(i, readOnly: false)));
        await using var server = await Server.StartExactlyAsync(_folder["s"], "--config", _folder["c.json"]);
        await using var second = await Server.StartAsync(_folder["t"], $"second-host={_folder["52.raw"]}");
        await File.WriteAllTextAsync(_folder["job.fio"], LiveCommandTests.Job(server.UriOf("kept"), seconds: 8));
        var fio = Peer.RunAsync("fio", [_folder["job.fio"]]);
        await UntilAsync(async () => (await StatusAsync(server)).GetProperty("clients").GetArrayLength() == 1);
        var client = (await StatusAsync(server)).GetProperty("clients")[0].GetProperty("id").GetInt64();

        // 0 to 9 go, 10 to 19 change, 50 and 51 come.
        await WriteAsync(Enumerable.Range(10, 42).Select(i => Export(i, readOnly: i < 20)));
        await Peer.RunOkAsync("/bin/kill", "-HUP", server.Pid.ToString(CultureInfo.InvariantCulture));
        await UntilAsync(async () => (await StatusAsync(server)).GetProperty("exports").GetArrayLength() == 43);
        var status = await StatusAsync(server);
        var modes = status.GetProperty("exports").EnumerateArray().ToDictionary(e => e.GetProperty("name").GetString()!, e => e.GetProperty("mode").GetString());
        Assert.Equal("read-only", modes["e15"]);
        Assert.Equal("read-write", modes["e51"]);
        Assert.False(modes.ContainsKey("e9"));
        Assert.Equal(client, status.GetProperty("clients")[0].GetProperty("id").GetInt64());
        Assert.False(fio.IsCompleted);

        // The other way: the answer tells, and nothing is to be done the second time.
        using (var again = JsonDocument.Parse(await Blockmount.OkAsync("reload", server.Pid.ToString(CultureInfo.InvariantCulture), "--json")))
        {
            Assert.Equal(43, again.RootElement.GetProperty("unchanged").GetArrayLength());
            Assert.Equal(0, again.RootElement.GetProperty("changed").GetArrayLength());
        }

        var result = await fio;
        Assert.True(result.ExitCode == 0 && result.Output.Contains("err= 0", StringComparison.Ordinal), result.Error + result.Output);
        Assert.Equal(0, await server.StopAsync());
        Assert.Equal(0, await second.StopAsync("HUP"));
        await Blockmount.OkAsync("check", "--read", _folder["kept.vdi"]);
    }

    [Fact]
    public async Task A_wrong_file_changes_nothing_and_is_told_in_the_answer_and_in_the_log()
    {
        foreach (var i in new[] { 0, 1 })
        {
            await File.WriteAllBytesAsync(_folder[$"{i}.raw"], new byte[64 << 10]);
        }

        await Blockmount.OkAsync("create", _folder["kept.vdi"], "--size", "16M");
        await WriteAsync([Export(0, readOnly: false)]);
        await using var server = await Server.StartExactlyAsync(_folder["s"], "--config", _folder["c.json"]);
        var pid = server.Pid.ToString(CultureInfo.InvariantCulture);
        var good = await File.ReadAllTextAsync(_folder["c.json"]);
        foreach (var (text, sentence) in new[]
        {
            ("{", "not the JSON"),
            (good.Replace("\"max_connections\": 8", "\"max_connections\": 9", StringComparison.Ordinal), "max_connections has changed"),
            (good.Replace("kept.vdi", "missing.vdi", StringComparison.Ordinal), "no such file"),
            (good.Replace("\"e0\"", "\"kept\"", StringComparison.Ordinal), "Two exports are called 'kept'"),
            ("{\"socket\": \"" + _folder["s"] + "\", \"max_connections\": 8}", "Nothing to serve"),
            (good.Replace("\"read_only\"", "\"readonly\"", StringComparison.Ordinal), "not known"),
        })
        {
            Assert.NotEqual(good, text);
            await File.WriteAllTextAsync(_folder["c.json"], text);
            var refused = await Blockmount.RunAsync("reload", pid);
            Assert.NotEqual(0, refused.ExitCode);
            Assert.Contains(sentence, refused.Error, StringComparison.Ordinal);
            Assert.Contains(sentence, server.Errors, StringComparison.Ordinal);
            Assert.Equal(2, (await StatusAsync(server)).GetProperty("exports").GetArrayLength());
        }

        // SIGHUP with a wrong file does not end it either.
        await Peer.RunOkAsync("/bin/kill", "-HUP", pid);
        await File.WriteAllTextAsync(_folder["c.json"], good);
        await Blockmount.OkAsync("export", "add", pid, _folder["1.raw"], "--name", "added-by-hand");
        await Blockmount.OkAsync("reload", pid);
        Assert.Equal(3, (await StatusAsync(server)).GetProperty("exports").GetArrayLength());
        Assert.Equal(0, await server.StopAsync());
    }

    [Fact]
    public async Task After_a_snapshot_a_file_that_would_open_the_parent_for_writing_is_refused()
    {
        await Blockmount.OkAsync("create", _folder["kept.vdi"], "--size", "16M");
        await WriteAsync([]);
        await using var server = await Server.StartExactlyAsync(_folder["s"], "--config", _folder["c.json"]);
        var pid = server.Pid.ToString(CultureInfo.InvariantCulture);
        await Blockmount.OkAsync("snapshot", pid + "/kept", "--path", _folder["newer.vdi"]);
        var good = await File.ReadAllTextAsync(_folder["c.json"]);
        await Blockmount.OkAsync("reload", pid);
        await File.WriteAllTextAsync(_folder["c.json"], good.Replace("\"kept\"", "\"other-name\"", StringComparison.Ordinal));
        Assert.Contains("newer.vdi", await Blockmount.FailsAsync(2, "reload", pid), StringComparison.Ordinal);
        await File.WriteAllTextAsync(_folder["c.json"], good.Replace("\"kept\"", "\"other-name\"", StringComparison.Ordinal).Replace("kept.vdi", "newer.vdi", StringComparison.Ordinal));
        await Blockmount.OkAsync("reload", pid);
        Assert.Equal(_folder["newer.vdi"], (await StatusAsync(server)).GetProperty("exports")[0].GetProperty("image").GetString());
        Assert.Equal(0, await server.StopAsync());
    }

    private object Export(int i, bool readOnly) => new { name = $"e{i}", image = _folder[$"{i}.raw"], read_only = readOnly };

    private Task WriteAsync(IEnumerable<object> exports) => File.WriteAllTextAsync(_folder["c.json"], JsonSerializer.Serialize(
        new { socket = _folder["s"], max_connections = 8, exports = exports.Prepend(new { name = "kept", image = _folder["kept.vdi"] }) }, s_lines));

    private static async Task UntilAsync(Func<Task<bool>> condition)
    {
        var deadline = Environment.TickCount64 + 30_000;
        while (!await condition())
        {
            Assert.True(Environment.TickCount64 < deadline, "it did not happen within 30 s");
            await Task.Delay(100);
        }
    }

    private static async Task<JsonElement> StatusAsync(Server server)
    {
        using var document = JsonDocument.Parse(await Blockmount.OkAsync("status", server.Pid.ToString(CultureInfo.InvariantCulture), "--json"));
        return document.RootElement[0].Clone();
    }
}
