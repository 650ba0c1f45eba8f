using System.Collections;
using System.Data.Common;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using Npgsql;

namespace Kiln.Server.Metadata.Postgres;

/// <summary>
/// The rows of an answer, as code that was written against SQLite expects them: an integer is read as the size that is
/// asked for, whatever the size is that the expression has in PostgreSQL.
/// </summary>
[SuppressMessage("Naming", "CA1710", Justification = "A reader of rows, as its base is.")]
[SuppressMessage("Design", "CA1010", Justification = "A reader of rows, as its base is.")]
internal sealed class PostgresRows(NpgsqlDataReader rows) : DbDataReader
{
    public override int Depth => rows.Depth;
    public override int FieldCount => rows.FieldCount;
    public override bool HasRows => rows.HasRows;
    public override bool IsClosed => rows.IsClosed;
    public override int RecordsAffected => rows.RecordsAffected;

    public override object this[int ordinal] => rows[ordinal];
    public override object this[string name] => rows[name];

    public override int GetInt32(int ordinal) =>
        rows.GetFieldType(ordinal) == typeof(int) ? rows.GetInt32(ordinal) : checked((int)GetInt64(ordinal));

    public override long GetInt64(int ordinal) =>
        rows.GetFieldType(ordinal) == typeof(long)
            ? rows.GetInt64(ordinal)
            : Convert.ToInt64(rows.GetValue(ordinal), CultureInfo.InvariantCulture);

    public override short GetInt16(int ordinal) => checked((short)GetInt64(ordinal));

    public override bool GetBoolean(int ordinal) => rows.GetBoolean(ordinal);

    public override byte GetByte(int ordinal) => rows.GetByte(ordinal);

    public override long GetBytes(int ordinal, long dataOffset, byte[]? buffer, int bufferOffset, int length) =>
        rows.GetBytes(ordinal, dataOffset, buffer, bufferOffset, length);

    public override char GetChar(int ordinal) => rows.GetChar(ordinal);

    public override long GetChars(int ordinal, long dataOffset, char[]? buffer, int bufferOffset, int length) =>
        rows.GetChars(ordinal, dataOffset, buffer, bufferOffset, length);

    public override string GetDataTypeName(int ordinal) => rows.GetDataTypeName(ordinal);

    public override DateTime GetDateTime(int ordinal) => rows.GetDateTime(ordinal);

    public override decimal GetDecimal(int ordinal) => rows.GetDecimal(ordinal);

    public override double GetDouble(int ordinal) => rows.GetDouble(ordinal);

    public override IEnumerator GetEnumerator() => new DbEnumerator(this);

    [UnconditionalSuppressMessage("Trimming", "IL2073", Justification = "Types of columns are primitive.")]
    [return: DynamicallyAccessedMembers(
        DynamicallyAccessedMemberTypes.PublicFields | DynamicallyAccessedMemberTypes.PublicProperties
    )]
    public override Type GetFieldType(int ordinal) => rows.GetFieldType(ordinal);

    public override T GetFieldValue<T>(int ordinal) => rows.GetFieldValue<T>(ordinal);

    public override float GetFloat(int ordinal) => rows.GetFloat(ordinal);

    public override Guid GetGuid(int ordinal) => rows.GetGuid(ordinal);

    public override string GetName(int ordinal) => rows.GetName(ordinal);

    public override int GetOrdinal(string name) => rows.GetOrdinal(name);

    public override string GetString(int ordinal) => rows.GetString(ordinal);

    public override object GetValue(int ordinal) => rows.GetValue(ordinal);

    public override int GetValues(object[] values) => rows.GetValues(values);

    public override bool IsDBNull(int ordinal) => rows.IsDBNull(ordinal);

    public override bool NextResult() => rows.NextResult();

    public override bool Read() => rows.Read();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            rows.Dispose();
        }

        base.Dispose(disposing);
    }
}
