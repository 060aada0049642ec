using BlockMount.TestSupport;
using BlockMount.TestSupport.Scenarios;

namespace BlockMount.Core.Tests.Scenarios;

/// <summary>VirtualBox's scenarios over files in memory, at a thirty-second of their size.</summary>
public sealed class VirtualBoxScriptTests : VirtualBoxScriptFacts
{
    private protected override VirtualBoxScripts Scripts { get; } = new(new CrashHost([]), "/d", 32768);
}
