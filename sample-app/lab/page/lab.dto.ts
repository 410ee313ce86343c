import { IsInt, IsOptional, IsString, Max, MaxLength, Min } from 'class-validator';

const ID = { message: '$property must be the id of one, as GET /lab/cells tells it' };
const limits = (least: number, most: number) => ({
  message: `$property must be a whole number from ${least} to ${most}`,
});

/** A cell; without `scenario` a row, without `scheme` a column, without both everything. */
export class RunDto {
  @IsOptional()
  @IsString(ID)
  @MaxLength(64, ID)
  scheme?: string;

  @IsOptional()
  @IsString(ID)
  @MaxLength(64, ID)
  scenario?: string;
}

export class ExperimentDto {
  @IsString(ID)
  @MaxLength(64, ID)
  scheme!: string;

  @IsInt(limits(1, 50))
  @Min(1, limits(1, 50))
  @Max(50, limits(1, 50))
  duplicates!: number;

  @IsInt(limits(200, 10_000))
  @Min(200, limits(200, 10_000))
  @Max(10_000, limits(200, 10_000))
  ttlMs!: number;

  @IsInt(limits(0, 20_000))
  @Min(0, limits(0, 20_000))
  @Max(20_000, limits(0, 20_000))
  bankLatencyMs!: number;
}
