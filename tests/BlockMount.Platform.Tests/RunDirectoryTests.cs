using BlockMount.Core.Errors;
using BlockMount.Platform.Hosts;

namespace BlockMount.Platform.Tests;

public sealed class RunDirectoryTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Users_have_the_session_directory_and_root_the_system_one()
    {
        var session = _folder["session"];
        Directory.CreateDirectory(session);
        Assert.Equal(
            [Path.Combine(session, "blockmount"), "/run/blockmount", "/tmp/blockmount-1000"],
            RunDirectory.Candidates(1000, session, "/run", "/tmp"));
        Assert.Equal(["/run/blockmount", "/tmp/blockmount-0"], RunDirectory.Candidates(0, session, "/run", "/tmp"));
        Assert.Equal(["/run/blockmount", "/tmp/blockmount-7"], RunDirectory.Candidates(7, null, "/run", "/tmp"));
        Assert.Equal(["/run/blockmount", "/tmp/blockmount-7"], RunDirectory.Candidates(7, "relative", "/run", "/tmp"));
        Assert.Equal(["/run/blockmount", "/tmp/blockmount-7"], RunDirectory.Candidates(7, _folder["missing"], "/run", "/tmp"));
    }

    [Fact]
    public async Task The_folder_is_made_private()
    {
        var path = RunDirectory.Ensure([_folder["run"]]);
        Assert.Equal(_folder["run"], path);
        Assert.Equal("700", (await Peer.RunOkAsync("stat", "-c", "%a", path)).Trim());
        Assert.Equal(path, RunDirectory.Ensure([path, _folder["other"]]));
        Assert.False(Directory.Exists(_folder["other"]));
    }

    [Fact]
    public async Task The_next_place_is_taken_when_one_cannot_be_made_or_is_not_safe()
    {
        await File.WriteAllTextAsync(_folder["file"], "");
        await Peer.RunOkAsync("mkdir", "-m", "777", _folder["open"]);
        Directory.CreateDirectory(_folder["target"]);
        Directory.CreateSymbolicLink(_folder["link"], _folder["target"]);
        var path = RunDirectory.Ensure([_folder["file"], _folder["file/below"], _folder["open"], _folder["link"], _folder["good"]]);
        Assert.Equal(_folder["good"], path);
    }

    [Fact]
    public async Task A_folder_of_somebody_else_is_refused_by_name()
    {
        Peer.RequireRoot();
        await Peer.RunOkAsync("install", "-d", "-m", "700", "-o", "12345", _folder["theirs"]);
        var error = Assert.Throws<DiskException>(() => RunDirectory.Ensure([_folder["theirs"]]));
        Assert.Equal(ErrorKind.AccessDenied, error.Kind);
        Assert.Contains($"{_folder["theirs"]} belongs to user 12345", error.Message, StringComparison.Ordinal);
    }
}
