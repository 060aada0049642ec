using System.Text.Json;
using BlockMount.Core.Errors;

namespace BlockMount.Host.Cli;

/// <summary>
/// One object of a configuration file. Each key that is asked for is known; <see cref="End"/> refuses the others, so that a misspelt
/// word is never taken for one that was left out.
/// </summary>
internal sealed class ConfigObject
{
    private const int LongestShown = 60;

    private readonly string _place;
    private readonly Dictionary<string, JsonElement> _values = new(StringComparer.Ordinal);
    private readonly List<string> _known = [];

    /// <param name="place">File and, inside it, path: <c>c.json: exports[0]</c>.</param>
    /// <param name="element">Must be an object.</param>
    /// <exception cref="DiskException">It is none, or a key stands twice.</exception>
    public ConfigObject(string place, JsonElement element)
    {
        _place = place;
        if (element.ValueKind != JsonValueKind.Object)
        {
            throw Refused($"{place} is {Shown(element)}; it must be an object in braces.");
        }

        foreach (var property in element.EnumerateObject())
        {
            if (!_values.TryAdd(property.Name, property.Value))
            {
                throw Refused($"{place} has {property.Name} twice.");
            }
        }
    }

    public string? Text(string key) => Value(key) is not { } v ? null : v.ValueKind == JsonValueKind.String ? v.GetString() : throw Wrong(key, v, "a text");

    /// <summary>A text with something in it, such as a path.</summary>
    public string? Path(string key) => Text(key) is { Length: 0 } ? throw Wrong(key, Value(key)!.Value, "a text that is not empty") : Text(key);

    public bool? Flag(string key) => Value(key)?.ValueKind switch
    {
        null => null,
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw Wrong(key, Value(key)!.Value, "true or false"),
    };

    /// <summary>A whole number of at least <paramref name="least"/>.</summary>
    public int? Number(string key, int least) =>
        Value(key) is not { } v ? null
        : v.ValueKind == JsonValueKind.Number && v.TryGetInt32(out var number) && number >= least ? number
        : throw Wrong(key, v, $"a whole number from {least}");

    /// <summary>Bytes: a whole number, or a text such as <c>64K</c>.</summary>
    public long? Size(string key)
    {
        if (Value(key) is not { } v)
        {
            return null;
        }

        var size = v.ValueKind switch
        {
            JsonValueKind.Number when v.TryGetInt64(out var number) => number,
            JsonValueKind.String => SizeText.Parse(v.GetString()!),
            _ => null,
        };
        return size >= 0 ? size : throw Wrong(key, v, "bytes, or a text such as \"64K\"");
    }

    /// <summary>One of <paramref name="allowed"/>.</summary>
    public string? Word(string key, params string[] allowed) =>
        Text(key) is not { } text ? null : allowed.Contains(text, StringComparer.Ordinal) ? text : throw Wrong(key, Value(key)!.Value, string.Join(" or ", allowed));

    /// <summary>A text, or a list of texts.</summary>
    public IReadOnlyList<string>? Texts(string key)
    {
        if (Value(key) is not { } v)
        {
            return null;
        }

        var isList = v.ValueKind == JsonValueKind.Array && v.EnumerateArray().All(static e => e.ValueKind == JsonValueKind.String);
        return isList ? [.. v.EnumerateArray().Select(static e => e.GetString()!)]
            : v.ValueKind == JsonValueKind.String ? [v.GetString()!] : throw Wrong(key, v, "a text or a list of texts");
    }

    /// <summary>A list of objects; empty when it is left out.</summary>
    public IReadOnlyList<ConfigObject> Objects(string key) =>
        Value(key) is not { } v ? []
        : v.ValueKind == JsonValueKind.Array ? [.. v.EnumerateArray().Select((e, i) => new ConfigObject($"{_place}: {key}[{i}]", e))]
        : throw Wrong(key, v, "a list of objects");

    /// <exception cref="DiskException">A key is there that nobody asked for.</exception>
    public void End()
    {
        if (_values.Keys.FirstOrDefault(k => !_known.Contains(k, StringComparer.Ordinal)) is { } unknown)
        {
            throw Refused($"{_place} has '{Cut(unknown)}', which is not known; known are {string.Join(", ", _known)}.");
        }
    }

    /// <summary>A sentence about this object.</summary>
    public DiskException Refuse(string message) => Refused($"{_place} {message}");

    private static DiskException Refused(string message) => new(ErrorKind.InvalidArgument, message);

    private static string Cut(string text) => text.Length > LongestShown ? text[..LongestShown] + "…" : text;

    private static string Shown(JsonElement element) => Cut(element.GetRawText());

    private JsonElement? Value(string key)
    {
        if (!_known.Contains(key, StringComparer.Ordinal))
        {
            _known.Add(key);
        }

        return _values.TryGetValue(key, out var value) ? value : null;
    }

    private DiskException Wrong(string key, JsonElement value, string allowed) => Refused($"{_place}: {key} is {Shown(value)}; it must be {allowed}.");
}
