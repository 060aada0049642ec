using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>The scripts as the shells themselves use them.</summary>
public sealed class CompletionTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public CompletionTests()
    {
        Directory.CreateDirectory(_folder["images"]);
        File.WriteAllText(_folder["leaf of a chain.vdi"], "");
    }

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("blockmount ser", "serve")]
    [InlineData("blockmount umou", "umount")]
    [InlineData("blockmount raw cr", "create")]
    [InlineData("blockmount serve --allocation-", "--allocation-depth")]
    [InlineData("blockmount --ver", "--version")]
    [InlineData("blockmount serve --discard un", "unmap")]
    [InlineData("blockmount serve -k x --detect-zeroes un", "unmap")]
    [InlineData("blockmount create --format vm", "vmdk")]
    [InlineData("blockmount completion z", "zsh")]
    [InlineData("blockmount info lea", "leaf of a chain.vdi")]
    [InlineData("blockmount info --read-only lea", "leaf of a chain.vdi")]
    [InlineData("blockmount serve one.vdi two.vdi lea", "leaf of a chain.vdi")]
    [InlineData("blockmount mount leaf.vdi ima", "images")]
    [InlineData("blockmount info --search ima", "images")]
    [InlineData("blockmount info --search x --search ima", "images")]
    public async Task Bash_zsh_and_fish_complete(string line, string expected)
    {
        Assert.Equal([expected], await BashAsync(line));
        Assert.Equal([expected], (await FishAsync(line)).Select(static c => c.TrimEnd('/')));
        Assert.Equal(expected, await ZshAsync(line));
    }

    [Theory]
    [InlineData("blockmount serve --disc", "--discard")]
    [InlineData("blockmount raw create --acc", "--access")]
    public async Task An_option_with_a_value_is_completed_and_zsh_adds_the_equals_sign(string line, string expected)
    {
        Assert.Equal([expected], await BashAsync(line));
        Assert.Equal([expected], await FishAsync(line));
        Assert.Equal(expected + "=", await ZshAsync(line));
    }

    [Theory]
    [InlineData("blockmount list lea")]
    [InlineData("blockmount info --search lea")]
    [InlineData("blockmount serve --max-connections lea")]
    [InlineData("blockmount man-pa")]
    [InlineData("blockmount list --disc")]
    [InlineData("blockmount demo --ver")]
    public async Task Where_nothing_fits_nothing_is_offered(string line)
    {
        Assert.Empty(await BashAsync(line));
        Assert.Empty(await FishAsync(line));
        Assert.Equal(line.Split(' ')[^1], await ZshAsync(line));
    }

    [Fact]
    public async Task A_value_behind_an_equals_sign_is_completed()
    {
        Assert.Equal(["unmap"], await BashAsync("blockmount serve --discard = un"));
        Assert.Equal(["--discard=unmap"], await FishAsync("blockmount serve --discard=un"));
        Assert.Equal("--discard=unmap", await ZshAsync("blockmount serve --discard=un"));
    }

    [Fact]
    public async Task Names_of_running_hosts_are_offered()
    {
        var name = $"completion-{Guid.NewGuid():N}";
        await Blockmount.OkAsync("create", _folder["disk.vdi"], "--size", "1M");
        await using var server = await Server.StartAsync(_folder["disk.sock"], $"{name}={_folder["disk.vdi"]}");
        var line = $"blockmount status {name[..20]}";

        Assert.Equal([name], await BashAsync(line));
        Assert.Equal([name], await FishAsync(line));
        Assert.Equal(name, await ZshAsync(line));
    }

    [Fact]
    public async Task A_shell_that_is_not_known_is_refused() => Assert.Contains("tcsh", await Blockmount.FailsAsync(2, "completion", "tcsh"), StringComparison.Ordinal);

    /// <summary>Every candidate for the last word.</summary>
    private async Task<string[]> BashAsync(string line) => Lines(await ShellAsync(
        "bash", "bash", ["--norc", "-c"],
        """
        source "$1"
        read -r -a COMP_WORDS <<< "$2"
        COMP_WORDS[0]=$3
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        [[ $(complete -p blockmount) == 'complete -F _blockmount blockmount' ]] || exit 1
        _blockmount
        [[ ${#COMPREPLY[@]} -eq 0 ]] || printf '%s\n' "${COMPREPLY[@]}"
        """,
        line));

    /// <summary>Every candidate for the last word.</summary>
    private async Task<string[]> FishAsync(string line) => Lines(await ShellAsync(
        "fish", "fish", ["--no-config", "-c"],
        """
        source $argv[1]
        set -gx PATH (path dirname $argv[3]) $PATH
        complete -C $argv[2]
        """,
        line)).Select(static l => l.Split('\t')[0]).ToArray();

    /// <summary>What the last word becomes when Tab is pressed on a terminal.</summary>
    private async Task<string> ZshAsync(string line)
    {
        var shown = await ShellAsync(
            "zsh", "zsh", ["-f", "-c"],
            """
            zmodload zsh/zpty
            zpty shell "TERM=dumb PATH=${3:h}:$PATH zsh -f -i"
            zpty -w shell "cd ${(q)PWD}; autoload -Uz compinit; compinit -u -D; source ${(q)1}; compdef _blockmount blockmount"
            zpty -w shell "show() { local -a words=(\${(z)BUFFER}); print; print -r -- \"<<\${(Q)words[-1]}>>\"; BUFFER= }; zle -N show; bindkey '^X' show; setopt no_beep; print READY\${:-!}"
            zpty -r -m shell out '*READY!*'
            zpty -w -n shell "$2"$'\t\C-x'
            zpty -r -m shell out '*<<*>>*' && print -r -- "$out"
            zpty -d shell
            """,
            line);
        var from = shown.LastIndexOf("<<", StringComparison.Ordinal);
        Assert.True(from >= 0, $"zsh showed: {shown}");
        return shown[(from + 2)..shown.IndexOf(">>", from, StringComparison.Ordinal)].TrimEnd('/');
    }

    private async Task<string> ShellAsync(string shell, string package, string[] options, string script, string line)
    {
        Peer.Require(shell, package);
        var file = _folder[$"blockmount.{shell}"];
        if (!File.Exists(file))
        {
            await File.WriteAllTextAsync(file, await Blockmount.OkAsync("completion", shell));
        }

        var result = await Peer.RunAsync(
            "/bin/sh", ["-c", "cd \"$1\" && shift && exec timeout 60 \"$@\"", "sh", _folder.Root, shell, .. options, script, .. shell == "fish" ? Array.Empty<string>() : [shell], file, line, Blockmount.Program]);
        Assert.True(result.ExitCode == 0, $"{shell}: {line}: {result.ExitCode}: {result.Error}{result.Output}");
        Assert.Equal("", result.Error);
        return result.Output;
    }

    private static string[] Lines(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
}
