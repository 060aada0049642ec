using BlockMount.Host.Commands;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

public sealed class ManPageTests : IDisposable
{
    private const string Year2023 = "SOURCE_DATE_EPOCH=1700000000";

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Every_visible_command_has_a_page_and_no_hidden_one()
    {
        await WriteAsync("man");
        var expected = new List<string> { "blockmount.1" };
        foreach (var command in CommandTree.Create().Subcommands.Where(static c => !c.Hidden))
        {
            expected.Add($"blockmount-{command.Name}.1");
            expected.AddRange(command.Subcommands.Select(s => $"blockmount-{command.Name}-{s.Name}.1"));
        }

        Assert.Equal(expected.Order(StringComparer.Ordinal), Pages("man").Select(static p => Path.GetFileName(p)).Order(StringComparer.Ordinal));
        Assert.Contains("blockmount-raw-create.1", expected);
        Assert.DoesNotContain("blockmount-man-pages.1", expected);
    }

    [Fact]
    public async Task Mandoc_finds_nothing_to_warn_of()
    {
        Peer.Require("mandoc", "mandoc");
        await WriteAsync("man");

        // Matters of style are longer lines of examples, which stay as they are typed.
        var lint = await Peer.RunAsync("mandoc", ["-T", "lint", "-W", "warning", .. Pages("man")]);

        Assert.Equal((0, ""), (lint.ExitCode, lint.Output + lint.Error));
    }

    [Fact]
    public async Task Man_shows_every_page_without_a_warning()
    {
        Peer.Require("man", "man-db");
        await WriteAsync("man");
        foreach (var page in Pages("man"))
        {
            var shown = await Peer.RunAsync("man", ["--warnings=w", "-E", "UTF-8", "-P", "cat", "-l", page]);

            Assert.Equal((page, 0, ""), (page, shown.ExitCode, shown.Error));
            Assert.All(
                ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "FILES", "SEE ALSO"],
                section => Assert.Contains($"\n{section}\n", shown.Output, StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task A_page_shows_what_is_typed_letter_by_letter()
    {
        Peer.Require("man", "man-db");
        await WriteAsync("man");

        var serve = await Peer.RunOkAsync("man", "-E", "ascii", "-P", "cat", "-l", _folder["man/blockmount-serve.1"]);

        Assert.Contains("2023-11-14", serve, StringComparison.Ordinal);
        Assert.Contains("blockmount serve a=one.vdi b=two.vmdk --mode a=ro --mode b=overlay\n", serve, StringComparison.Ordinal);
        Assert.Contains("--socket, -k PATH", serve, StringComparison.Ordinal);
        Assert.DoesNotContain("--forked-child", serve, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_same_program_and_date_make_the_same_bytes()
    {
        await WriteAsync("one");
        await WriteAsync("two");

        Assert.All(Pages("one"), page => Assert.Equal(File.ReadAllBytes(page), File.ReadAllBytes(_folder[$"two/{Path.GetFileName(page)}"])));
    }

    [Theory]
    [InlineData("yesterday")]
    [InlineData("-1")]
    [InlineData("253402300800")]
    public async Task A_date_that_is_none_is_refused_by_name(string date)
    {
        var result = await Peer.RunAsync("env", [$"SOURCE_DATE_EPOCH={date}", Blockmount.Program, "man-pages", _folder["man"]]);

        Assert.Equal(2, result.ExitCode);
        Assert.StartsWith($"blockmount: SOURCE_DATE_EPOCH is '{date}';", result.Error, StringComparison.Ordinal);
    }

    private Task<string> WriteAsync(string name) => Peer.RunOkAsync("env", Year2023, Blockmount.Program, "man-pages", _folder[name]);

    private string[] Pages(string name) => Directory.GetFiles(_folder[name]);
}
